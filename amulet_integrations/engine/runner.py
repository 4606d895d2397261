"""Forward passes: token ids in, logits of the last position out."""

from __future__ import annotations

import gc
import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from amulet_integrations.engine.cache import RowCache


class Rows:
    """The contexts that run together: their cache, and how much of it is each one's own.

    Attributes:
        cache: Keys and values; all rows end at the same position.
        lengths: Tokens of each row; what is before them is padding.
    """

    def __init__(self, cache: RowCache, lengths: Sequence[int]) -> None:
        self.cache = cache
        self.lengths = list(lengths)

    def keep(self, rows: Sequence[int]) -> None:
        """Keeps the given rows, and only as much padding as they need."""
        width = max(self.lengths)
        self.lengths = [self.lengths[row] for row in rows]
        self.cache.keep(rows, width - max(self.lengths))

    def join(self, other: Rows) -> None:
        """Adds the rows of `other` after these."""
        self.cache.join(other.cache)
        self.lengths += other.lengths


class ModelRunner:
    """Runs a decoder-only model over rows of unequal length.

    Args:
        model: In eval mode, on its device.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        accepted = inspect.signature(model.forward).parameters
        # Some models have no positions but what the mask implies (ALiBi).
        self._takes_positions = "position_ids" in accepted
        self.device: torch.device = model.device

    def prefill(self, contexts: Sequence[Sequence[int]]) -> tuple[Rows, Tensor]:
        """Reads prompts.

        Returns:
            The rows, and the logits after each prompt, shape (rows, vocab).
        """
        rows = Rows(RowCache(), [0] * len(contexts))
        width = max(map(len, contexts))
        padded = [[0] * (width - len(ids)) + list(ids) for ids in contexts]
        return rows, self._forward(rows, padded, [len(ids) for ids in contexts])[:, -1]

    def decode(self, rows: Rows, tokens: Sequence[int]) -> Tensor:
        """Appends one token to each row.

        Returns:
            The logits after it, shape (rows, vocab).
        """
        return self._forward(rows, [[token] for token in tokens], [1] * len(tokens))[:, -1]

    def extend(self, rows: Rows, tokens: Sequence[int]) -> Tensor:
        """Appends the same tokens to every row, for scoring.

        Returns:
            The logits after each of them, shape (rows, tokens, vocab).
        """
        count = len(tokens)
        ids = [list(tokens)] * len(rows.lengths)
        return self._forward(rows, ids, [count] * len(ids), logits_to_keep=count)

    def release(self) -> None:
        """Lets go of the model; nothing can be run any more."""
        del self._model
        gc.collect()  # layers and what was hung on them hold each other

    def _forward(
        self, rows: Rows, ids: list[list[int]], new: Sequence[int], logits_to_keep: int = 1
    ) -> Tensor:
        rows.lengths = [length + more for length, more in zip(rows.lengths, new, strict=True)]
        lengths = torch.tensor(rows.lengths, device=self.device)
        width = rows.cache.get_seq_length() + len(ids[0])
        columns = torch.arange(width, device=self.device)
        # The place of each column in its own row; negative where it is padding.
        positions = columns - (width - lengths)[:, None]
        inputs: dict[str, Any] = {"attention_mask": None}
        if min(rows.lengths) < width:
            inputs["attention_mask"] = positions >= 0
        if self._takes_positions:
            inputs["position_ids"] = positions[:, -len(ids[0]) :].clamp(min=0)
        logits: Tensor = self._model(
            input_ids=torch.tensor(ids, device=self.device),
            past_key_values=rows.cache,
            use_cache=True,
            logits_to_keep=logits_to_keep,
            return_dict=True,
            **inputs,
        ).logits
        return logits
