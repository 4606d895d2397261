"""A backend without a model: the next token's logits are a function of the last two tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from amulet_integrations.engine.backends.base import RowInput

VOCABULARY = 512
CONTEXT_WINDOW = 640
SPREAD = 3.0  # of the logits, so that greedy has no ties


class TableCache:
    """Rows that hold nothing but their tokens."""

    max_saved = None

    def __init__(self) -> None:
        self.rows: list[list[int]] = []

    @property
    def lengths(self) -> list[int]:
        return [len(row) for row in self.rows]

    @property
    def tokens(self) -> int:
        return sum(self.lengths)

    def add(self, rows: int) -> None:
        self.rows += [[] for _ in range(rows)]

    def keep(self, rows: Sequence[int]) -> None:
        self.rows = [self.rows[row] for row in rows]

    def copy(self, source: int, target: int, length: int) -> None:
        self.rows[target] = self.rows[source][:length]

    def merge(self, source: int, target: int, length: int) -> None:
        assert self.rows[source][:length] == self.rows[target][:length]

    def truncate(self, row: int, length: int) -> None:
        del self.rows[row][length:]

    def clear(self, row: int) -> None:
        self.rows[row].clear()

    def save(self, row: int, length: int) -> list[int]:
        return self.rows[row][:length]

    def load(self, row: int, saved: list[int], length: int) -> None:
        self.rows[row] = saved[:length]

    def close(self) -> None:
        self.rows.clear()


class TableBackend:
    """Adds a row of one random table for the last token and one of another for the token before.

    Args:
        tokenizer: The tokenizer, for texts and grammars.
        fails_on: A token that the backend cannot compute.
    """

    max_decode_tokens = 32
    pads_inputs = False
    max_rows = None
    logits_tolerance = 0.0
    default_prefill_tokens = 64
    vocab_size = logits_size = VOCABULARY
    context_window = CONTEXT_WINDOW
    model_name = fingerprint = "table"
    end_ids = frozenset({1})
    device = torch.device("cpu")

    def __init__(self, tokenizer: PreTrainedTokenizerBase, fails_on: int | None = None) -> None:
        self.tokenizer = tokenizer
        self.released = False
        self._fails_on = fails_on
        generator = torch.Generator().manual_seed(0)
        self._tables = SPREAD * torch.randn(2, VOCABULARY, VOCABULARY, generator=generator)

    def logits_after(self, ids: Sequence[int]) -> Tensor:
        """The logits of the token after these, shape (vocab,)."""
        before, last = ids[-2] if len(ids) > 1 else 0, ids[-1]
        return self._tables[0, before] + self._tables[1, last]

    def free_cache_tokens(self) -> int:
        return 100_000

    def cache_tokens(self, lengths: Sequence[int]) -> int:
        return sum(lengths)

    def new_cache(self, max_rows: int, max_tokens: int) -> TableCache:
        return TableCache()

    def forward(
        self, cache: TableCache, inputs: Sequence[RowInput], logits_to_keep: int = 1
    ) -> Tensor:
        if any(self._fails_on in each.ids for each in inputs):
            raise ValueError(f"no logits after token {self._fails_on}")
        logits = torch.zeros(len(inputs), logits_to_keep, self.logits_size)
        for index, (row, ids) in enumerate(inputs):
            tokens = cache.rows[row]
            tokens += ids
            for back in range(min(logits_to_keep, len(ids))):
                logits[index, -1 - back] = self.logits_after(tokens[: len(tokens) - back])
        return logits

    decode = forward

    def free_prefix(self, saved: object) -> None:
        pass

    def drop_graphs(self) -> bool:
        return False

    def is_out_of_memory(self, error: BaseException) -> bool:
        return isinstance(error, MemoryError)

    def free_memory(self) -> None:
        pass

    def model_fingerprint(self) -> str:
        return "table"

    def release(self) -> None:
        self.released = True
