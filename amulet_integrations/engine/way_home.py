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


class Alphabet:
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


def way_home(
    matcher: LLMatcher, cursor: JsonCursor, alphabet: Alphabet, allowed: Allowed, limit: int
) -> list[int] | None:
    """Looks for tokens that satisfy the grammar.

    Args:
        matcher: Where the text stands; it is not changed.
        cursor: The same place, as JSON; it is not changed.
        alphabet: The vocabulary.
        allowed: Which tokens may come next.
        limit: Most tokens of the way.

    Returns:
        The tokens, none where the grammar is satisfied already; None where no way was found.
    """
    ways = (
        _walk(matcher.deep_copy(), cursor.copy(), alphabet, allowed, order=order, limit=limit)
        for order in alphabet.orders
    )
    return next((way for way in ways if way is not None), None)


def _walk(
    matcher: LLMatcher,
    cursor: JsonCursor,
    alphabet: Alphabet,
    allowed: Allowed,
    *,
    order: int,
    limit: int,
) -> list[int] | None:
    way: list[int] = []
    used: Counter[int] = Counter()
    while not matcher.is_accepting():
        tokens: list[int | None] = list(matcher.compute_ff_tokens())
        if not tokens:
            mask = allowed(matcher)
            tokens = [
                alphabet.inside(mask, used)
                if cursor.in_string
                else alphabet.outside(mask, order, used)
            ]
        for token in tokens:
            if token is None or len(way) >= limit or not matcher.consume_token(token):
                return None
            way.append(token)
            used[token] += 1
            cursor.push(alphabet.pieces[token])
            if not cursor.in_string and alphabet.pieces[token].rstrip()[-1:] in _PARTS:
                alphabet.forget_digits(used)
    return way


def _tokens(single: dict[bytes, int], characters: bytes) -> NDArray[np.int64]:
    found = [single[bytes([char])] for char in characters if bytes([char]) in single]
    return np.array(found, dtype=np.int64)
