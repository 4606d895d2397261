"""Keys and values of what was read before, so that only what is new has to be read."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import count
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from amulet_integrations.engine.backends.transformers.row_cache import LayerStates

Tokens = NDArray[np.int64]


class Prefix(NamedTuple):
    """The beginning of some context.

    Attributes:
        ids: Its tokens.
        states: What every layer holds of them.
    """

    ids: Tokens
    states: Sequence[LayerStates]


def as_tokens(ids: Sequence[int]) -> Tokens:
    """Token ids in the form that is compared."""
    return np.asarray(ids, dtype=np.int64)


def shared_length(one: Tokens, other: Tokens) -> int:
    """How many tokens two texts begin with together."""
    length = min(len(one), len(other))
    different = np.flatnonzero(one[:length] != other[:length])
    return int(different[0]) if len(different) else length


class PrefixCache:
    """Keeps the contexts of requests that have ended; what was used least recently goes first.

    Args:
        max_tokens: Most tokens kept; 0 keeps nothing.

    Attributes:
        tokens: Tokens kept now.
    """

    def __init__(self, max_tokens: int) -> None:
        self.max_tokens = max_tokens
        self.tokens = 0
        self._kept: OrderedDict[int, Prefix] = OrderedDict()
        self._keys = count()

    def longest(self, ids: Tokens) -> tuple[int, Prefix | None]:
        """The kept text that begins as `ids` does for longest, and for how many tokens."""
        best, found = 0, None
        for key, prefix in self._kept.items():
            if len(prefix.ids) > best and (length := shared_length(ids, prefix.ids)) > best:
                best, found = length, key
        if found is None:
            return 0, None
        self._kept.move_to_end(found)
        return best, self._kept[found]

    def worth_keeping(self, ids: Tokens) -> bool:
        """Whether a text is neither too long to keep nor kept already; then `keep` it."""
        return 0 < len(ids) <= self.max_tokens and self.longest(ids)[0] < len(ids)

    def keep(self, prefix: Prefix) -> None:
        """Keeps a text that is `worth_keeping`, instead of what is but its beginning."""
        for key, other in list(self._kept.items()):
            if shared_length(prefix.ids, other.ids) == len(other.ids):
                self._forget(key)
        self._kept[next(self._keys)] = prefix
        self.tokens += len(prefix.ids)
        self.shrink_to(self.max_tokens)

    def shrink_to(self, max_tokens: int) -> None:
        """Forgets what was used least recently until no more than so many tokens are kept."""
        while self.tokens > max(0, max_tokens):
            self._forget(next(iter(self._kept)))

    def _forget(self, key: int) -> None:
        self.tokens -= len(self._kept.pop(key).ids)
