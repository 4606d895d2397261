"""How far a completion has come in one grammar, with a way to finish it always known."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from amulet_integrations.decoding.json_cursor import JsonCursor
from amulet_integrations.errors import GenerationError

from .grammar import first_line
from .shortest_completion import satisfies, shortest_completion

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from amulet_integrations.engine.request import GenerationRequest

    from .alternatives import OutputAlternative, Weights
    from .kept_grammars import CompiledGrammar

_NOT_ASCII = 0x80


class _Reserve(NamedTuple):
    """Tokens that a string or an array must leave for what follows it.

    Attributes:
        depth: The nesting depth of the string or the array.
        tokens: How many tokens must stay free as long as it is open.
    """

    depth: int
    tokens: int


class GrammarState:
    """The state of one alternative's grammar.

    A token is refused where the shortest completion after it is longer than the tokens left, so
    what was begun is finished: as tokens run out, whatever is open closes. A string or an array
    that other strings follow takes at most half of the tokens that were free when it began.

    Args:
        alternative: The alternative.
        request: Its request.
        compiled: Its grammar.

    Attributes:
        shortest_completion: Tokens that satisfy the grammar from here; none where it is satisfied.
        is_structured: Whether the text was, at any time, inside a structure that must be finished.
    """

    def __init__(
        self,
        alternative: OutputAlternative,
        request: GenerationRequest,
        compiled: CompiledGrammar,
    ) -> None:
        self._table = compiled.table
        self._matcher = compiled.matcher.deep_copy()
        self.shortest_completion = list(compiled.shortest_completion)
        self.is_structured = not self.in_free_text
        self._cursor = JsonCursor()
        self._weights = request.running_weights(alternative.weights)
        self._string_weights = request.running_weights(
            alternative.string_weights or alternative.weights
        )
        self._reserves: list[_Reserve] = []
        self._allowed: NDArray[np.bool_] | None = None

    @property
    def weights(self) -> Weights:
        """The mixture that the next token is drawn with."""
        return self._string_weights if self._cursor.in_string_value else self._weights

    @property
    def in_free_text(self) -> bool:
        """Whether the text may end here, except for the rest of a character.

        The shortest completion then has no ASCII character.
        """
        return all(
            byte >= _NOT_ASCII
            for token in self.shortest_completion
            for byte in self._table.pieces[token]
        )

    @property
    def is_finished(self) -> bool:
        """Whether no token can follow."""
        return not self.shortest_completion and bool(self._matcher.is_stopped())

    def allowed_tokens(self) -> NDArray[np.bool_]:
        """Which tokens may come next, shape (vocab,); not to be changed."""
        if self._allowed is None:
            self._allowed = self._table.allowed_tokens(self._matcher)
        return self._allowed

    def advance(self, token: int, left: int) -> bool:
        """Accepts a token, unless too few tokens would be left to finish.

        Args:
            token: One of the allowed tokens.
            left: How many tokens may follow it.

        Returns:
            Whether the token was accepted. Otherwise nothing has changed.

        Raises:
            GenerationError: llguidance gives up on the grammar.
        """
        cursor = self._cursor.copy()
        cursor.push(self._table.pieces[token])
        if not self._matcher.consume_token(token):
            raise GenerationError(
                "The grammar got too large to go on with: "
                f"{first_line(self._matcher.get_error())} Simplify the schema."
            )
        completion = self._completion_after(token, cursor, left)
        is_planned = self.shortest_completion[:1] == [token]
        if completion is None or not (is_planned or self._keeps_reserves(cursor, completion, left)):
            self._matcher.rollback(1)
            return False
        if not completion:
            cursor = JsonCursor()  # the text so far may have been prose with quotes of its own
        self._reserves = self._reserves_at(cursor, left - len(completion))
        self._cursor, self.shortest_completion, self._allowed = cursor, completion, None
        self.is_structured = self.is_structured or not self.in_free_text
        return True

    def _completion_after(self, token: int, cursor: JsonCursor, left: int) -> list[int] | None:
        previous = self.shortest_completion
        if self._matcher.is_accepting():
            return []
        if previous[:1] == [token]:
            return previous[1:]
        # Most tokens stand inside a string, after which the same completion satisfies the grammar.
        for completion in (previous[1:], previous):
            if 0 < len(completion) <= left and satisfies(self._matcher, completion):
                return completion
        return shortest_completion(
            self._matcher, cursor, self._table, limit=left, previous=previous
        )

    def _keeps_reserves(self, cursor: JsonCursor, completion: list[int], left: int) -> bool:
        free = left - len(completion)
        return free >= 0 and not any(
            free < reserve.tokens and self._strings_follow(cursor, completion, reserve.depth)
            for reserve in self._reserves
            if reserve.depth <= _depth(cursor)
        )

    def _strings_follow(self, cursor: JsonCursor, completion: list[int], depth: int) -> bool:
        """Whether the completion writes strings after it has closed what is open at `depth`."""
        cursor = cursor.copy()
        closed = False
        for token in completion:
            piece = self._table.pieces[token]
            if closed and b'"' in piece:
                return True
            cursor.push(piece)
            closed = closed or _depth(cursor) < depth
        return False

    def _reserves_at(self, cursor: JsonCursor, free: int) -> list[_Reserve]:
        depth = _depth(cursor)
        reserves = [reserve for reserve in self._reserves if reserve.depth <= depth]
        if depth > _depth(self._cursor) and (cursor.in_string or cursor.containers[-1:] == b"["):
            reserves.append(_Reserve(depth, free // 2))
        return reserves


def _depth(cursor: JsonCursor) -> int:
    """How many structures are open, a string included."""
    return cursor.depth + cursor.in_string
