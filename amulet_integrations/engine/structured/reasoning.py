"""A reasoning model's thoughts: text of any kind that comes before the answer proper."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from amulet_integrations.engine.structured.grammar import GrammarCompiler

_PAUSE = "\n\n"  # stands between thoughts and answer in every template that has thoughts


def end_length(end: str, grammars: GrammarCompiler) -> int:
    """Most tokens that the end of thoughts takes, with the pause after it."""
    return len(grammars.tokens_of(f"\n{end}")) + len(grammars.tokens_of(_PAUSE))


class Thoughts:
    """Lets a model think until it ends its thoughts itself, or until its room is used up.

    Args:
        begin: What the completion begins them with, such as "<think>", if the model wants to
            have any; None where the prompt has begun them.
        end: What ends them, such as "</think>".
        grammars: Knows the tokenizer.
        room: Most tokens of the thoughts; their end comes on top.
    """

    def __init__(self, begin: str | None, end: str, grammars: GrammarCompiler, room: int) -> None:
        self._beginning = grammars.tokens_of(begin) if begin else []
        self._end = end
        self._grammars = grammars
        self._pause = grammars.tokens_of(_PAUSE)
        self._forced_end = grammars.tokens_of(f"\n{end}")
        self._left = room
        self._text = ""
        self._forced: list[int] = []
        self._ended = False
        if self._left < 1:
            self._beginning, self._forced = [], list(self._forced_end)

    @property
    def beginning(self) -> int | None:
        """The token that would begin them; None once they have begun."""
        return self._beginning[0] if self._beginning else None

    def begins_with(self, token: int) -> bool:
        """Whether the token says all by itself that they begin."""
        return self._beginning == [token]

    def begin(self) -> None:
        """Lets them begin, with `beginning` as the next token."""
        self._forced, self._beginning = self._beginning, []

    @property
    def over(self) -> bool:
        """Whether the answer begins now."""
        return self._ended and not self._forced

    def allowed(self) -> NDArray[np.bool_]:
        """Which tokens may come next, shape (vocab,)."""
        return self._grammars.any_text()

    def take(self, token: int) -> int:
        """Takes the token that was drawn, or what has to stand in its place, and returns it."""
        token = self._forced.pop(0) if self._forced else token
        self._left -= 1
        if self._ended:
            return token
        self._text += self._grammars.text_of(token)
        if self._end in self._text:
            self._ended = True
            self._forced = [] if self._text.endswith("\n") else list(self._pause)
        elif self._left < 1 and not self._forced:
            self._forced = list(self._forced_end)
        return token
