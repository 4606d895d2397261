"""The reasoning of a reasoning model: text of any kind that comes before the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .grammar import GrammarCompiler

_SEPARATOR = "\n\n"  # between reasoning and answer in every template that has reasoning


def end_length(end: str, grammars: GrammarCompiler) -> int:
    """Most tokens that the end of the reasoning takes, with the blank line after it."""
    return len(grammars.tokens_of(f"\n{end}")) + len(grammars.tokens_of(_SEPARATOR))


class ReasoningState:
    """Lets a model reason until it ends the reasoning itself, or has no tokens left for it.

    Args:
        begin: Text with which the model begins to reason if it wants to, such as "<think>"; None
            where the prompt has begun the reasoning.
        end: Text that ends the reasoning, such as "</think>".
        grammars: Knows the tokenizer.
        room: Most tokens of the reasoning, without its end.

    Attributes:
        has_begun: Whether the text is reasoning. Otherwise the model may still answer at once.
    """

    def __init__(self, begin: str | None, end: str, grammars: GrammarCompiler, room: int) -> None:
        self._beginning = grammars.tokens_of(begin) if begin else []
        self._end = end
        self._grammars = grammars
        self._separator = grammars.tokens_of(_SEPARATOR)
        self._forced_end = grammars.tokens_of(f"\n{end}")
        self._left = room
        self._text = ""
        self._forced = [] if room > 0 else list(self._forced_end)
        self._has_ended = False
        self.has_begun = not self._beginning

    @property
    def first_token(self) -> int:
        """The token that begins the reasoning, where it has not begun."""
        return self._beginning[0]

    def is_begun_by(self, token: int) -> bool:
        """Whether the token alone is the whole beginning."""
        return self._beginning == [token]

    def begin(self) -> None:
        """Begins the reasoning. `first_token` is the next token."""
        self._forced = self._beginning
        self.has_begun = True

    @property
    def is_over(self) -> bool:
        """Whether the answer begins with the next token."""
        return self._has_ended and not self._forced

    def advance(self, token: int) -> int:
        """Appends the drawn token, or the one that is forced instead; returns what it appended."""
        token = self._forced.pop(0) if self._forced else token
        self._left -= 1
        if self._has_ended:
            return token
        self._text += self._grammars.text_of(token)
        if self._end in self._text:
            self._has_ended = True
            self._forced = [] if self._text.endswith("\n") else list(self._separator)
        elif self._left < 1 and not self._forced:
            self._forced = list(self._forced_end)
        return token
