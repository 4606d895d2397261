"""Prefixes of contexts that were computed before, so that only what is new has to be computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from amulet_integrations.engine.backends.base import SavedPrefix

Tokens = NDArray[np.int64]

_MIN_TOKENS_TO_WAIT_FOR = 16  # a pass of its own costs about as much as computing a few tokens


class Prefix(NamedTuple):
    """The beginning of some context.

    Attributes:
        ids: Its tokens.
        saved: Its states, kept by the backend.
        cache_salt: The salt of the request that it comes from.
    """

    ids: Tokens
    saved: SavedPrefix
    cache_salt: str | None = None


class PrefixMatch(NamedTuple):
    """How much of a context's beginning other rows hold, or will hold after their prefill.

    Attributes:
        row: The row that holds the most of it now.
        length: The number of tokens that this row holds.
        upcoming: The most tokens of it that any row will hold.
    """

    row: int
    length: int
    upcoming: int

    def worth_waiting(self, available: int) -> bool:
        """Returns whether to wait for the upcoming tokens, if `available` ones are saved."""
        return self.upcoming - max(self.length, available) >= _MIN_TOKENS_TO_WAIT_FOR


def as_tokens(ids: Sequence[int]) -> Tokens:
    """Returns token ids as an array, which is quick to compare."""
    return np.asarray(ids, dtype=np.int64)


def shared_length(one: Tokens, other: Tokens) -> int:
    """Returns the length of the longest common prefix."""
    length = min(len(one), len(other))
    different = np.flatnonzero(one[:length] != other[:length])
    return int(different[0]) if len(different) else length


def match_prefix(ids: Tokens, others: Sequence[Tokens], lengths: Sequence[int]) -> PrefixMatch:
    """Compares a context with those of other rows.

    Args:
        ids: The context. Its last token is never matched, because its logits are needed.
        others: The contexts of the rows.
        lengths: The number of tokens that each row holds now.
    """
    best, longest, upcoming = -1, 0, 0
    for row, other in enumerate(others):
        shared = min(shared_length(ids, other), len(ids) - 1)
        upcoming = max(upcoming, shared)
        held = min(shared, lengths[row])
        if held > longest:
            best, longest = row, held
    return PrefixMatch(best, longest, upcoming)


class PrefixCache:
    """Keeps the contexts of ended requests. The least recently used is dropped first.

    Contexts of different salts know nothing of each other; they share the room alone.

    Args:
        max_tokens: The most tokens to keep; 0 keeps nothing.
        free: Called with `Prefix.saved` of each prefix that is dropped.
        max_prefixes: The most prefixes to keep; None for no limit.

    Attributes:
        tokens: The number of tokens kept now.
    """

    def __init__(
        self,
        max_tokens: int,
        free: Callable[[SavedPrefix], None],
        max_prefixes: int | None = None,
    ) -> None:
        self.max_tokens = max_tokens
        self._max_prefixes = max_prefixes
        self.tokens = 0
        self._free = free
        self._prefixes: list[Prefix] = []  # the least recently used comes first

    def longest(self, ids: Tokens, cache_salt: str | None) -> tuple[int, Prefix | None]:
        """Returns the longest common prefix with a kept context of a salt, and that context.

        Of several, it is the shortest context: the backend may have to copy all of it.
        """
        best, found, size = 0, None, 0
        for index, prefix in enumerate(self._prefixes):
            if prefix.cache_salt != cache_salt or len(prefix.ids) < best:
                continue
            length = shared_length(ids, prefix.ids)
            if length > best or (length == best and len(prefix.ids) < size):
                best, found, size = length, index, len(prefix.ids)
        if found is None:
            return 0, None
        self._prefixes.append(self._prefixes.pop(found))
        return best, self._prefixes[-1]

    def accepts(self, ids: Tokens, cache_salt: str | None) -> bool:
        """Returns whether a context is neither too long to keep nor kept already."""
        if not 0 < len(ids) <= self.max_tokens or self._max_prefixes == 0:
            return False
        return self.longest(ids, cache_salt)[0] < len(ids)

    def add(self, prefix: Prefix) -> None:
        """Keeps a context that `accepts` has accepted, and drops those that are its beginning."""
        for index, other in reversed(list(enumerate(self._prefixes))):
            same_salt = other.cache_salt == prefix.cache_salt
            if same_salt and shared_length(prefix.ids, other.ids) == len(other.ids):
                self._drop(index)
        self._prefixes.append(prefix)
        self.tokens += len(prefix.ids)
        if self._max_prefixes is not None and len(self._prefixes) > self._max_prefixes:
            self._drop(0)
        self.shrink_to(self.max_tokens)

    def shrink_to(self, max_tokens: int) -> None:
        """Drops the least recently used until no more than `max_tokens` are kept."""
        while self.tokens > max(0, max_tokens):
            self._drop(0)

    def _drop(self, index: int) -> None:
        prefix = self._prefixes.pop(index)
        self.tokens -= len(prefix.ids)
        self._free(prefix.saved)
