"""Forward passes over rows of unequal length."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedModel

from amulet_integrations.engine.backends.base import RowInput

from .masks import Batching, row_masks
from .model_info import takes_argument
from .row_cache import RowCache


class ForwardPass:
    """Appends tokens to rows of a cache and computes logits.

    Args:
        model: A decoder-only model.
        batching: Which rows of unequal length can share a pass of this model.

    Attributes:
        batching: See above.
        takes_positions: Whether the model is given positions. Some have none but those that the
            mask implies (ALiBi).
    """

    def __init__(self, model: PreTrainedModel, batching: Batching) -> None:
        self._model = model
        self.batching = batching
        self.takes_positions: bool = takes_argument(model, "position_ids")

    def __call__(self, cache: RowCache, inputs: Sequence[RowInput], logits_to_keep: int) -> Tensor:
        """As `Backend.forward`."""
        before = list(cache.lengths)
        try:
            groups = self._groups(cache, inputs)
            if len(groups) == 1:
                return self._run(cache, inputs, logits_to_keep)
            return self._run_groups(cache, inputs, groups, logits_to_keep)
        except BaseException:
            cache.lengths[:] = before
            raise

    def _groups(self, cache: RowCache, inputs: Sequence[RowInput]) -> list[list[int]]:
        """Returns which inputs can run in one pass: all, or those of rows that are equally long."""
        single = all(len(each.ids) == 1 for each in inputs)
        if self.batching is Batching.MIXED or (single and self.batching is Batching.SINGLE_TOKENS):
            return [list(range(len(inputs)))]
        groups: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for index, each in enumerate(inputs):
            groups[cache.lengths[each.row], len(each.ids)].append(index)
        return list(groups.values())

    def _run_groups(
        self,
        cache: RowCache,
        inputs: Sequence[RowInput],
        groups: Sequence[Sequence[int]],
        logits_to_keep: int,
    ) -> Tensor:
        logits: list[Tensor] = [torch.empty(0)] * len(inputs)
        for group in groups:
            of_group = self._run(cache, [inputs[index] for index in group], logits_to_keep)
            for index, of_input in zip(group, of_group, strict=True):
                logits[index] = pad(of_input, (0, 0, logits_to_keep - len(of_input), 0))
        return torch.stack(logits)

    def _run(self, cache: RowCache, inputs: Sequence[RowInput], logits_to_keep: int) -> Tensor:
        new = max(len(each.ids) for each in inputs)
        counts = torch.tensor([len(each.ids) for each in inputs])
        before = torch.tensor([cache.lengths[each.row] for each in inputs])
        after = before + counts
        width = int(after.max())
        # Padding stands before the tokens, so that the last logits are those of the last token.
        positions = after[:, None] + torch.arange(-new, 0)
        padding = positions < before[:, None]
        # Padding is written behind the row's end, where the next token will overwrite it.
        columns = torch.where(padding, after[:, None], positions)
        alike = bool((after == width).all()) and not bool(padding.any())
        cache.map_slots([each.row for each in inputs], columns, width)
        positions = positions.masked_fill(padding, 0).to(self._model.device)
        ids = [[0] * (new - len(each.ids)) + list(each.ids) for each in inputs]
        options: dict[str, Any] = {
            "input_ids": torch.tensor(ids).to(self._model.device),
            "past_key_values": cache,
            "logits_to_keep": min(logits_to_keep, new),
        }
        if alike:  # the model's own masks are right and faster
            logits = self.run_model(positions, **options)
        elif self.batching is Batching.MIXED:
            with row_masks(positions):
                logits = self.run_model(positions, **options)
        else:
            in_use = (torch.arange(width) < after[:, None]).to(self._model.device)
            logits = self.run_model(positions, attention_mask=in_use, **options)
        lengthen(cache, inputs)
        return logits

    def run_model(
        self, positions: Tensor, *, attention_mask: Tensor | None = None, **options: Any
    ) -> Tensor:
        """Runs the model once and returns its logits, (rows, positions, vocab)."""
        if self.takes_positions:
            options["position_ids"] = positions
        logits: Tensor = self._model(
            attention_mask=attention_mask, use_cache=True, return_dict=True, **options
        ).logits
        return logits


def lengthen(cache: RowCache, inputs: Sequence[RowInput]) -> None:
    """Counts the tokens that a pass has appended."""
    for each in inputs:
        cache.lengths[each.row] += len(each.ids)
