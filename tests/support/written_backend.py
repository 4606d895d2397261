"""A backend that writes the same tokens after every prompt, whatever the contexts are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from tests.support.table_backend import VOCABULARY, TableBackend


class WrittenBackend(TableBackend):
    """Writes given tokens, and then the last of them for ever.

    Args:
        tokenizer: The tokenizer.
        script: The tokens. No prompt may end like their beginning.
        end_ids: The tokens that end a text.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        script: Sequence[int],
        end_ids: Iterable[int] = (),
    ) -> None:
        super().__init__(tokenizer)
        self.end_ids = frozenset(end_ids)
        self.vocab_size = self.logits_size = max(VOCABULARY, len(tokenizer))
        self._script = list(script)

    def logits_after(self, ids: Sequence[int]) -> Tensor:
        longest = min(len(self._script) - 1, len(ids))
        written = next(
            size
            for size in range(longest, -1, -1)
            if list(ids[len(ids) - size :]) == self._script[:size]
        )
        logits = torch.full((self.logits_size,), -20.0)
        logits[self._script[written]] = 20.0
        return logits
