"""One branch as far as it has been written, with a way to its end always at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amulet_integrations.decoding.json_cursor import JsonCursor
from amulet_integrations.engine.structured.grammar import first_line
from amulet_integrations.engine.structured.shortest_completion import satisfies
from amulet_integrations.errors import GenerationError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from amulet_integrations.engine.request import GenerationRequest
    from amulet_integrations.engine.structured.alternatives import OutputAlternative, Weights
    from amulet_integrations.engine.structured.grammar import GrammarCompiler

_NOT_ASCII = 0x80


class Path:
    """A branch that a completion follows.

    No token is taken after which the way home is longer than the tokens left, so what was begun
    is finished. As room runs out, what is open closes; and a string or an array that others must
    follow takes at most half of the room that was free when it began.

    Args:
        branch: The branch.
        request: The request that it belongs to.
        grammars: Reads its grammar.

    Attributes:
        branch: The branch.
        home: Tokens that satisfy the grammar from here; none where it is satisfied.
        structured: Whether the text was, at any time, inside a form that must be finished.
    """

    def __init__(
        self, alternative: OutputAlternative, request: GenerationRequest, grammars: GrammarCompiler
    ) -> None:
        compiled = grammars.compile(alternative.grammar)
        self.alternative = alternative
        self.home = list(compiled.home)
        self._grammars = grammars
        self.structured = not self.free
        self._matcher = compiled.matcher.deep_copy()
        self._cursor = JsonCursor()
        self._weights = request.running_weights(alternative.weights)
        self._string_weights = request.running_weights(
            alternative.string_weights or alternative.weights,
        )
        self._shares: list[tuple[int, int]] = []  # depth and room to be left, of what is open
        self._allowed: NDArray[np.bool_] | None = None

    @property
    def weights(self) -> Weights:
        """The mixture that the next token is drawn with."""
        return self._string_weights if self._cursor.in_string_value else self._weights

    @property
    def free(self) -> bool:
        """Whether the text may end here, but perhaps for the rest of a character.

        Told by the way home, which has no ASCII in it then.
        """
        return all(byte >= _NOT_ASCII for token in self.home for byte in self._piece(token))

    @property
    def finished(self) -> bool:
        """Whether nothing can follow."""
        return not self.home and bool(self._matcher.is_stopped())

    def allowed(self) -> NDArray[np.bool_]:
        """Which tokens may come next, shape (vocab,); not to be changed."""
        if self._allowed is None:
            self._allowed = self._grammars.allowed(self._matcher)
        return self._allowed

    def advance(self, token: int, left: int) -> bool:
        """Takes a token, one of those allowed, unless too little room would be left.

        Args:
            token: The token.
            left: Tokens that may follow it.

        Returns:
            Whether it was taken; otherwise nothing has changed.

        Raises:
            GenerationError: llguidance gives up on the grammar here.
        """
        cursor = self._cursor.copy()
        cursor.push(self._piece(token))
        if not self._matcher.consume_token(token):
            raise GenerationError(
                "The grammar got too large to go on with: "
                f"{first_line(self._matcher.get_error())} Simplify the schema."
            )
        home = self._way_from_here(token, cursor, left)
        on_the_way = bool(self.home) and token == self.home[0]
        if home is None or not (on_the_way or self._leaves_room(cursor, home, left)):
            self._matcher.rollback(1)
            return False
        if not home:
            cursor = JsonCursor()  # what was written may have been prose, with quotes of its own
        self._shares = self._shares_at(cursor, left - len(home))
        self._cursor, self.home, self._allowed = cursor, home, None
        self.structured = self.structured or not self.free
        return True

    def _way_from_here(self, token: int, cursor: JsonCursor, left: int) -> list[int] | None:
        matcher = self._matcher
        if matcher.is_accepting():
            return []
        if self.home and token == self.home[0]:
            return self.home[1:]
        # Most often the token stands inside a string, and the way stays as it was, if it does not
        # get shorter.
        for known in (self.home[1:], self.home):
            if 0 < len(known) <= left and satisfies(matcher, known):
                return known
        return self._grammars.shortest_completion(matcher, cursor, left, self.home)

    def _leaves_room(self, cursor: JsonCursor, home: list[int], left: int) -> bool:
        free = left - len(home)
        return free >= 0 and not any(
            free < kept and self._others_follow(cursor, home, depth)
            for depth, kept in self._shares
            if depth <= _depth(cursor)
        )

    def _others_follow(self, cursor: JsonCursor, home: list[int], depth: int) -> bool:
        """Whether the way home writes strings after it has closed what is open at `depth`."""
        cursor = cursor.copy()
        closed = False
        for token in home:
            piece = self._piece(token)
            if closed and b'"' in piece:
                return True
            cursor.push(piece)
            closed = closed or _depth(cursor) < depth
        return False

    def _shares_at(self, cursor: JsonCursor, free: int) -> list[tuple[int, int]]:
        depth = _depth(cursor)
        shares = [share for share in self._shares if share[0] <= depth]
        if depth > _depth(self._cursor) and (cursor.in_string or cursor.containers[-1:] == b"["):
            shares.append((depth, free // 2))
        return shares

    def _piece(self, token: int) -> bytes:
        return self._grammars.bytes_of(token)


def _depth(cursor: JsonCursor) -> int:
    """How much is open, a string included."""
    return cursor.depth + cursor.in_string
