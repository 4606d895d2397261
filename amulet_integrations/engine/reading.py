"""Which part of which prompt is read next. Touches no tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from amulet_integrations.engine.kv.prefix_cache import Tokens, shared_length

_WORTH_WAITING = 16  # tokens; a pass of its own costs about as much as reading a few


class Known(NamedTuple):
    """How much of a context's beginning other rows hold, or will hold once they are read.

    Attributes:
        row: The row that holds the most of it now.
        length: How many tokens that is.
        coming: The most that any row will hold.
    """

    row: int
    length: int
    coming: int

    def worth_waiting(self, at_hand: int) -> bool:
        """Whether to wait for what is coming, where so many tokens are at hand already."""
        return self.coming - max(self.length, at_hand) >= _WORTH_WAITING


def known_beginning(ids: Tokens, others: Sequence[Tokens], lengths: Sequence[int]) -> Known:
    """Compares a context with those of other rows.

    Args:
        ids: The context. Its last token is always read, since its logits are needed.
        others: The contexts of the rows.
        lengths: How many tokens of them have been read.
    """
    known = Known(-1, 0, 0)
    for row, other in enumerate(others):
        shared = min(shared_length(ids, other), len(ids) - 1)
        ready = min(shared, lengths[row])
        best = (row, ready) if ready > known.length else known[:2]
        known = Known(*best, max(known.coming, shared))
    return known


class Chunk:
    """The tokens that one pass reads.

    Pieces of very unequal length are not put together, for the shorter ones would be mostly
    padding.

    Args:
        max_tokens: Most tokens of the pass, padding included.

    Attributes:
        full: Whether nothing more is taken.
    """

    def __init__(self, max_tokens: int) -> None:
        self._max_tokens = max_tokens
        self._takes: list[int] = []
        self.full = False

    def take(self, left: int) -> int:
        """How many of a row's tokens that are left to be read are part of the chunk."""
        count = len(self._takes) + 1
        take = min(left, self._max_tokens // count)
        padded = count * max([take, *self._takes])
        wasteful = padded > 2 * (take + sum(self._takes))
        if not take or self.full or padded > self._max_tokens or wasteful:
            self.full = self.full or left > 0
            return 0
        self._takes.append(take)
        return take
