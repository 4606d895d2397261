"""The tokens of one call of llama.cpp, laid out as it wants them."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class SequenceInput(NamedTuple):
    """The tokens that a batch appends to a sequence.

    Attributes:
        sequence: The sequence's id.
        position: The position of the first token.
        ids: At least one token id.
    """

    sequence: int
    position: int
    ids: Sequence[int]


class TokenColumns(NamedTuple):
    """Tokens of a batch, each with its sequence, its position and whether logits are wanted."""

    ids: NDArray[np.int32]
    sequences: NDArray[np.int32]
    positions: NDArray[np.int32]
    wanted: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, inputs: Sequence[SequenceInput], counts: Sequence[int]) -> TokenColumns:
        """Lays out inputs, of each of which the last `counts` positions are wanted."""
        lengths = [len(each.ids) for each in inputs]
        if len(inputs) == sum(lengths) == sum(counts):  # as in nearly every step
            return cls(
                np.array([each.ids[0] for each in inputs], dtype=np.int32),
                np.array([each.sequence for each in inputs], dtype=np.int32),
                np.array([each.position for each in inputs], dtype=np.int32),
                np.ones(len(inputs), dtype=np.int8),
            )
        ends = np.cumsum(lengths)
        first = np.array([each.position for each in inputs]) - (ends - lengths)
        places = np.arange(ends[-1])
        from_end = np.repeat(ends, lengths) - places
        return cls(
            np.array([token for each in inputs for token in each.ids], dtype=np.int32),
            np.repeat(np.array([each.sequence for each in inputs], dtype=np.int32), lengths),
            (places + np.repeat(first, lengths)).astype(np.int32),
            (from_end <= np.repeat(counts, lengths)).astype(np.int8),
        )

    def part(self, start: int, end: int) -> TokenColumns:
        """The tokens from one place to another."""
        return TokenColumns(
            self.ids[start:end],
            self.sequences[start:end],
            self.positions[start:end],
            self.wanted[start:end],
        )


class LlamaCppBatch:
    """llama.cpp's batch over arrays of our own, which are filled at once.

    Args:
        llama: llama.cpp.
        size: The most tokens.
        offsets: Each token is of the sequences whose ids are its own and these more.
    """

    def __init__(self, llama: Any, size: int, offsets: Sequence[int]) -> None:
        self.size = size
        self._tokens, self._positions = np.zeros((2, size), dtype=np.int32)
        self._offsets = np.array(offsets, dtype=np.int32)
        self._sequences = np.zeros((size, len(offsets)), dtype=np.int32)
        self._counts = np.full(size, len(offsets), dtype=np.int32)
        self._wanted = np.zeros(size, dtype=np.int8)
        step, begin = self._sequences.strides[0], self._sequences.ctypes.data
        self._lists = np.arange(begin, begin + size * step, step, dtype=np.uintp)
        self._struct = llama.llama_batch()
        columns: dict[str, NDArray[Any]] = {
            "token": self._tokens,
            "pos": self._positions,
            "n_seq_id": self._counts,
            "seq_id": self._lists,
            "logits": self._wanted,
        }
        kinds = dict(llama.llama_batch._fields_)
        for name, column in columns.items():
            setattr(self._struct, name, ctypes.cast(column.ctypes.data, kinds[name]))

    def fill(self, tokens: TokenColumns) -> Any:
        """Returns llama.cpp's batch with these tokens."""
        count = len(tokens)
        self._tokens[:count] = tokens.ids
        self._sequences[:count] = tokens.sequences[:, None] + self._offsets
        self._positions[:count] = tokens.positions
        self._wanted[:count] = tokens.wanted
        self._struct.n_tokens = count
        return self._struct
