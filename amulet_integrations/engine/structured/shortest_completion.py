"""A short completion that satisfies a grammar, from any state of the grammar.

llguidance knows which tokens may come next, but not how far the end is. So a search appends tokens
one by one: the forced ones, and otherwise the token that closes most. The completion found need not
be the very shortest. What matters is that it exists, and how many tokens it has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from llguidance import LLMatcher
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask
from numpy.typing import NDArray

from amulet_integrations.decoding.json_cursor import JsonCursor

_DIGITS = b"0123456789"
# Outside of strings: first what closes, then what continues, then what opens. Which kind of value
# is short depends on the schema, so there are two orders of preference.
_CLOSING_ORDERS = (
    b'}],:"' + _DIGITS + b"ntf[{-.eE+ \n",
    b"}],:ntf" + _DIGITS + b'{["-.eE+ \n',
)
# Inside a string that cannot be closed yet: the separators of dates, addresses and the like come
# before the characters between them.
_FILLING = b"-._@:/+TZ0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSUVWXY ,;=#%&!?()[]{}"
_QUOTE = b'"'
# A short completion is searched anew sooner than the previous one is rejoined. A previous one is
# rejoined within the value that was just written, if at all.
_MIN_REJOINED = 24
_MAX_SKIPPED = 4
_MAX_STEPS = 1024  # of a search while decoding; forced tokens count as one step together

Search = Generator[None, None, list[int] | None]
"""A search, step by step; a step takes about a millisecond."""


class TokenTable:
    """The bytes of each token, and the tokens that are a single character.

    Args:
        pieces: The bytes of each token of the vocabulary.
    """

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = pieces
        single = {piece: token for token, piece in reversed(list(enumerate(pieces)))}
        self._closing = [_tokens(single, order) for order in _CLOSING_ORDERS]
        self._digits = frozenset(_tokens(single, _DIGITS).tolist())
        self._filling = _tokens(single, _FILLING)
        self._quote = single.get(_QUOTE)
        self._lengths = np.array([len(piece) or len(pieces) for piece in pieces])

    def allowed_tokens(self, matcher: LLMatcher) -> NDArray[np.bool_]:
        """Which tokens may come next in a state of a grammar, shape (vocab,)."""
        size = len(self.pieces)
        bits = allocate_token_bitmask(1, size)
        fill_next_token_bitmask(matcher, bits)
        unpacked = np.unpackbits(bits.view(np.uint8), bitorder="little", count=size)
        return unpacked.view(np.bool_)

    def closing_token(
        self, allowed: NDArray[np.bool_], order: int, counts: Counter[int]
    ) -> int | None:
        """The allowed token that leads most directly to the end, outside of strings.

        Of several digits the first order takes the one used least, since zeros alone never make a
        number above 0. The other order takes the first digit, for multiples of a hundred.
        """
        preferred = self._closing[order]
        found = preferred[allowed[preferred]].tolist()
        if not found:
            return self._shortest_token(allowed)
        if found[0] in self._digits and order == 0:
            return int(min(filter(self._digits.__contains__, found), key=counts.__getitem__))
        return int(found[0])

    def string_token(self, allowed: NDArray[np.bool_], counts: Counter[int]) -> int | None:
        """The same inside a string. Tokens used least come first, so that no loop goes on."""
        if self._quote is not None and allowed[self._quote]:
            return self._quote
        found = self._filling[allowed[self._filling]].tolist()
        return min(found, key=counts.__getitem__) if found else self._shortest_token(allowed)

    def _shortest_token(self, allowed: NDArray[np.bool_]) -> int | None:
        found = np.flatnonzero(allowed)
        return int(found[self._lengths[found].argmin()]) if found.size else None


def steps_to_best_completion(matcher: LLMatcher, table: TokenTable, *, limit: int) -> Search:
    """Searches for the shortest completion from the beginning of a grammar, step by step.

    Args:
        matcher: The grammar at its beginning; it is not changed.
        table: The vocabulary.
        limit: Most tokens of the completion.

    Returns:
        A generator that yields between steps, and returns what `shortest_completion` returns.
    """
    best: list[int] | None = None
    # Again with a lower limit, as long as a shorter completion is found.
    while limit >= 0:
        found = yield from _steps(matcher, JsonCursor(), table, limit, ())
        if found is None:
            break
        best, limit = found, len(found) - 1
    return best


def shortest_completion(
    matcher: LLMatcher,
    cursor: JsonCursor,
    table: TokenTable,
    *,
    limit: int,
    previous: Sequence[int] = (),
) -> list[int] | None:
    """Searches for tokens that satisfy a grammar.

    Args:
        matcher: The state of the grammar; it is not changed.
        cursor: The same place in the text, as JSON; it is not changed.
        table: The vocabulary.
        limit: Most tokens of the completion.
        previous: The completion before the last token was appended. Its end may do here, too.

    Returns:
        The tokens; none where the grammar is satisfied already. None where nothing was found
        within `_MAX_STEPS` steps: their number is bounded, and not their time, so that answers do
        not depend on what else the machine does.
    """
    steps = _steps(matcher, cursor, table, limit, previous)
    for _ in range(_MAX_STEPS):
        try:
            next(steps)
        except StopIteration as end:
            return cast("list[int] | None", end.value)
    return None


def _steps(
    matcher: LLMatcher, cursor: JsonCursor, table: TokenTable, limit: int, previous: Sequence[int]
) -> Search:
    for order in range(len(_CLOSING_ORDERS)):
        search = _Search(matcher.deep_copy(), cursor.copy(), table, order)
        tokens = yield from search.run(limit, previous if len(previous) > _MIN_REJOINED else ())
        if tokens is not None:
            return tokens
    return None


def satisfies(matcher: LLMatcher, tokens: Sequence[int]) -> bool:
    """Whether these tokens satisfy the grammar from a state, which is not changed."""
    tokens = list(tokens)
    if matcher.validate_tokens(tokens) != len(tokens):
        return False
    state = matcher.deep_copy()
    return state.consume_tokens(tokens) and state.is_accepting()


@dataclass
class _Search:
    """One search, with one order of preference. It changes `matcher` and `cursor`."""

    matcher: LLMatcher
    cursor: JsonCursor
    table: TokenTable
    order: int
    counts: Counter[int] = field(default_factory=Counter)
    tokens: list[int] = field(default_factory=list)

    def run(self, limit: int, previous: Sequence[int]) -> Search:
        while not self.matcher.is_accepting():
            yield
            for token in self._next_tokens():
                if token is None or len(self.tokens) >= limit or not self._append(token):
                    return None
            for start in range(1, min(len(previous), _MAX_SKIPPED)):
                rest = previous[start:]
                if len(self.tokens) + len(rest) <= limit and satisfies(self.matcher, rest):
                    return [*self.tokens, *rest]
        return self.tokens

    def _next_tokens(self) -> list[int | None]:
        if forced := self.matcher.compute_ff_tokens():
            return list(forced)
        allowed = self.table.allowed_tokens(self.matcher)
        if self.cursor.in_string:
            return [self.table.string_token(allowed, self.counts)]
        return [self.table.closing_token(allowed, self.order, self.counts)]

    def _append(self, token: int) -> bool:
        if not self.matcher.consume_token(token):
            return False
        self.tokens.append(token)
        self.counts[token] += 1
        self.cursor.push(self.table.pieces[token])
        return True


def _tokens(single: dict[bytes, int], characters: bytes) -> NDArray[np.int64]:
    found = [single[bytes([char])] for char in characters if bytes([char]) in single]
    return np.array(found, dtype=np.int64)
