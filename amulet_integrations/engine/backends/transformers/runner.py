"""Forward passes: token ids in, logits of the last positions out."""

from __future__ import annotations

import gc
import inspect
import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedModel

from amulet_integrations.engine.backends.transformers.cuda_graphs import Record, StepGraphs
from amulet_integrations.engine.backends.transformers.masks import RowMasks
from amulet_integrations.engine.backends.transformers.row_cache import RowCache

logger = logging.getLogger(__name__)


class Piece(NamedTuple):
    """What a pass appends to one row."""

    row: int
    ids: Sequence[int]


class ModelRunner:
    """Runs a decoder-only model over rows of unequal length.

    Args:
        model: In eval mode, on its device.

    Attributes:
        device: Where token ids go in and logits come out.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        accepted = inspect.signature(model.forward).parameters
        # Some models have no positions but what the mask implies (ALiBi).
        self._takes_positions = "position_ids" in accepted
        self._masks = RowMasks(model)
        self._graphs: StepGraphs | None = None
        self.device: torch.device = model.device

    def append(self, cache: RowCache, pieces: Sequence[Piece], keep: int = 1) -> Tensor:
        """Appends tokens to rows of the cache.

        Args:
            cache: The cache. Where the model raises, its rows are as long as before.
            pieces: For each row that takes part its tokens, rows ascending.
            keep: Of how many positions logits are wanted: the last ones of each piece.

        Returns:
            Shape (pieces, keep, vocab). A piece of fewer tokens has its own at the end.
        """
        before = list(cache.lengths)
        try:
            return self._append(cache, pieces, keep)
        except BaseException:
            cache.lengths[:] = before
            raise

    def decode(self, cache: RowCache, pieces: Sequence[Piece], keep: int) -> Tensor:
        """`append` for the rows that decode together, which may replay what was recorded.

        The logits are good until the next step.
        """
        if self._graphs and _are_a_step(pieces):
            logits = self._graphs.decode(cache, [piece.ids[0] for piece in pieces])
            if logits is not None:
                _lengthen(cache, pieces)
                return logits
        return self.append(cache, pieces, keep)

    def record_steps(self, record: Record) -> None:
        """Lets `decode` record steps of one token a row and replay them.

        Args:
            record: How to record; see `step_graphs`.
        """
        if self._masks.mixes_lengths and self._takes_positions:
            self._graphs = StepGraphs(self._model, self._masks, record)
        else:
            logger.warning("%s is decoded without CUDA graphs.", type(self._model).__name__)

    def forget_recordings(self) -> bool:
        """Frees what recorded steps hold; whether there were any."""
        return self._graphs is not None and self._graphs.forget()

    @property
    def model(self) -> PreTrainedModel:
        """The model."""
        return self._model

    def release(self) -> None:
        """Lets go of the model; nothing can be run any more."""
        del self._model
        self._graphs = None
        gc.collect()  # layers and what was hung on them hold each other

    def _append(self, cache: RowCache, pieces: Sequence[Piece], keep: int) -> Tensor:
        groups = self._groups(cache, pieces)
        if len(groups) == 1:
            return self._forward(cache, pieces, keep)
        logits: list[Tensor] = [torch.empty(0)] * len(pieces)
        for group in groups:
            found = self._forward(cache, [pieces[index] for index in group], keep)
            for index, of_piece in zip(group, found, strict=True):
                logits[index] = pad(of_piece, (0, 0, keep - len(of_piece), 0))
        return torch.stack(logits)

    def _groups(self, cache: RowCache, pieces: Sequence[Piece]) -> list[list[int]]:
        """Which pieces can run in one pass: all, or those of rows that are equally long."""
        single = all(len(piece.ids) == 1 for piece in pieces)
        if self._masks.mixes_lengths or (single and self._masks.hides_padding):
            return [list(range(len(pieces)))]
        groups: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for index, piece in enumerate(pieces):
            groups[cache.lengths[piece.row], len(piece.ids)].append(index)
        return list(groups.values())

    def _forward(self, cache: RowCache, pieces: Sequence[Piece], keep: int) -> Tensor:
        new = max(len(piece.ids) for piece in pieces)
        counts = torch.tensor([len(piece.ids) for piece in pieces])
        before = torch.tensor([cache.lengths[piece.row] for piece in pieces])
        after = before + counts
        # Padding stands before a piece, so that the last logits are those of its last token.
        positions = after[:, None] + torch.arange(-new, 0)
        padding = positions < before[:, None]
        # Padding is written behind the row's end, where the next token will be written over it.
        columns = torch.where(padding, after[:, None], positions)
        padded = bool(padding.any())
        cache.aim([piece.row for piece in pieces], columns, int(after.max()))
        positions = positions.masked_fill(padding, 0)
        inputs: dict[str, Any] = self._masks.inputs(positions, after, padded, self._model)
        if self._takes_positions:
            inputs["position_ids"] = positions.to(self.device)
        ids = [[0] * (new - len(piece.ids)) + list(piece.ids) for piece in pieces]
        logits: Tensor = self._model(
            input_ids=torch.tensor(ids).to(self.device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=min(keep, new),
            return_dict=True,
            **inputs,
        ).logits
        _lengthen(cache, pieces)
        return logits


def _are_a_step(pieces: Sequence[Piece]) -> bool:
    """Whether they are one token for each of the first rows."""
    return all(piece.row == row and len(piece.ids) == 1 for row, piece in enumerate(pieces))


def _lengthen(cache: RowCache, pieces: Sequence[Piece]) -> None:
    for piece in pieces:
        cache.lengths[piece.row] += len(piece.ids)
