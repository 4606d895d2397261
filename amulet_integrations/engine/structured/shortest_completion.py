"""A short way from anywhere in a grammar to a text that satisfies it.

llguidance tells which tokens may come next, not how far the end is. So the end is looked for by
walking: what is forced is taken, and of several tokens the one that closes most. The way found
need not be the shortest; what matters is that there is one and how long it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from llguidance import LLMatcher
from numpy.typing import NDArray

from amulet_integrations.decoding.json_cursor import JsonCursor

Allowed = Callable[[LLMatcher], NDArray[np.bool_]]

_DIGITS = b"0123456789"
# Outside of strings: what closes, what goes on, then what begins. Which kind of value is short
# depends on the schema, so there are two orders.
_CLOSING = (b'}],:"' + _DIGITS + b"ntf[{-.eE+ \n", b"}],:ntf" + _DIGITS + b'{["-.eE+ \n')
_PARTS = b"}],:{["  # after these a new value begins
# Inside a string that cannot be closed yet: what parts the fields of dates, addresses and the
# like stands before what fills them.
_FILLING = b"-._@:/+TZ0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSUVWXY ,;=#%&!?()[]{}"
_QUOTE = b'"'
# Short ways are walked anew sooner than met, and ways meet within the value just written or never.
_WORTH_MEETING = 24
_NEAR = 4


class TokenTable:
    """What the tokens write, and which of them write a single character.

    Args:
        pieces: The bytes of each token of the vocabulary.
    """

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = pieces
        single = {piece: token for token, piece in reversed(list(enumerate(pieces)))}
        self._closing = [_tokens(single, order) for order in _CLOSING]
        self._digits = frozenset(_tokens(single, _DIGITS).tolist())
        self._filling = _tokens(single, _FILLING)
        self._quote = single.get(_QUOTE)
        self._lengths = np.array([len(piece) or len(pieces) for piece in pieces])

    @property
    def orders(self) -> range:
        """The orders in which `outside` can prefer tokens."""
        return range(len(self._closing))

    def outside(self, allowed: NDArray[np.bool_], order: int, used: Counter[int]) -> int | None:
        """The allowed token that comes closest to the end, outside of strings.

        Of several digits the one used least: a number above 0 is never reached by zeros alone, so
        the last order, which takes the first one, is for multiples of a hundred.
        """
        closing = self._closing[order]
        found = closing[allowed[closing]].tolist()
        if not found:
            return self._shortest(allowed)
        if found[0] in self._digits and order == 0:
            return int(min(filter(self._digits.__contains__, found), key=used.__getitem__))
        return int(found[0])

    def forget_digits(self, used: Counter[int]) -> None:
        """Begins to count digits anew, for the next number."""
        for digit in self._digits:
            used.pop(digit, None)

    def inside(self, allowed: NDArray[np.bool_], used: Counter[int]) -> int | None:
        """The same inside a string; what was used least goes first, so that no loop holds it."""
        if self._quote is not None and allowed[self._quote]:
            return self._quote
        found = self._filling[allowed[self._filling]].tolist()
        return min(found, key=used.__getitem__) if found else self._shortest(allowed)

    def _shortest(self, allowed: NDArray[np.bool_]) -> int | None:
        found = np.flatnonzero(allowed)
        return int(found[self._lengths[found].argmin()]) if found.size else None


def shortest_completion(
    matcher: LLMatcher,
    cursor: JsonCursor,
    alphabet: TokenTable,
    allowed: Allowed,
    *,
    limit: int,
    known: Sequence[int] = (),
) -> list[int] | None:
    """Looks for tokens that satisfy the grammar.

    Args:
        matcher: Where the text stands; it is not changed.
        cursor: The same place, as JSON; it is not changed.
        alphabet: The vocabulary.
        allowed: Which tokens may come next.
        limit: Most tokens of the way.
        known: The way from the token before, which this one may soon meet.

    Returns:
        The tokens, none where the grammar is satisfied already; None where no way was found.
    """
    for order in alphabet.orders:
        walk = _Walk(matcher.deep_copy(), cursor.copy(), alphabet, allowed, order)
        way = walk.home(limit, known if len(known) > _WORTH_MEETING else ())
        if way is not None:
            return way
    return None


def satisfies(matcher: LLMatcher, way: Sequence[int]) -> bool:
    """Whether the grammar is satisfied once these tokens have been written."""
    tokens = list(way)
    if matcher.validate_tokens(tokens) != len(tokens):
        return False
    there = matcher.deep_copy()
    return there.consume_tokens(tokens) and there.is_accepting()


class _Walk:
    """One attempt; of several values it prefers those of one order."""

    def __init__(
        self,
        matcher: LLMatcher,
        cursor: JsonCursor,
        alphabet: TokenTable,
        allowed: Allowed,
        order: int,
    ) -> None:
        self._matcher = matcher
        self._cursor = cursor
        self._alphabet = alphabet
        self._allowed = allowed
        self._order = order
        self._used: Counter[int] = Counter()
        self._way: list[int] = []

    def home(self, limit: int, known: Sequence[int]) -> list[int] | None:
        while not self._matcher.is_accepting():
            for token in self._step():
                if token is None or len(self._way) >= limit or not self._take(token):
                    return None
            for start in range(1, min(len(known), _NEAR)):
                rest = known[start:]
                if len(self._way) + len(rest) <= limit and satisfies(self._matcher, rest):
                    return [*self._way, *rest]
        return self._way

    def _step(self) -> list[int | None]:
        if forced := self._matcher.compute_ff_tokens():
            return list(forced)
        mask = self._allowed(self._matcher)
        if self._cursor.in_string:
            return [self._alphabet.inside(mask, self._used)]
        return [self._alphabet.outside(mask, self._order, self._used)]

    def _take(self, token: int) -> bool:
        if not self._matcher.consume_token(token):
            return False
        piece = self._alphabet.pieces[token]
        self._way.append(token)
        self._used[token] += 1
        self._cursor.push(piece)
        if not self._cursor.in_string and piece.rstrip()[-1:] in _PARTS:
            self._alphabet.forget_digits(self._used)
        return True


def _tokens(single: dict[bytes, int], characters: bytes) -> NDArray[np.int64]:
    found = [single[bytes([char])] for char in characters if bytes([char]) in single]
    return np.array(found, dtype=np.int64)
