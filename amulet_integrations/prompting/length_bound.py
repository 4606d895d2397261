"""Refuses texts that are far longer than the context window, before they are tokenised whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from amulet_integrations.errors import ContextLengthError

_CHARACTERS_PER_TOKEN = 8  # texts of fewer are tokenised whole at once
_TOKENS_AT_A_CUT = 2  # a piece may have so many more than it has within its text


def check_length(
    what: str, texts: Sequence[str], window: int, count_tokens: Callable[[str], int]
) -> None:
    """Refuses texts that certainly have more tokens than the context window.

    Tokens have no greatest length: normalisers shrink white space, and a vocabulary may hold long
    runs of one character. So the texts are tokenised piece by piece, until there are a quarter
    more tokens than the window holds.

    Args:
        what: What the texts are, for the message.
        texts: The texts.
        window: The context window, in tokens.
        count_tokens: The number of tokens of a text by itself.

    Raises:
        ContextLengthError: They cannot fit; the message names their size and the window.
    """
    characters = sum(map(len, texts))
    first = _CHARACTERS_PER_TOKEN * window
    if characters <= first:
        return
    counted, most = 0, window + window // 4
    for piece in _pieces(texts, first):
        counted += max(count_tokens(piece) - _TOKENS_AT_A_CUT, 0)
        if counted > most:
            raise ContextLengthError(
                f"The {what} has {characters} characters, more than {most} tokens, and the model's "
                f"context window has {window} tokens. Shorten it, or the documents in it."
            )


def _pieces(texts: Sequence[str], size: int) -> Iterator[str]:
    """The texts in pieces of at most `size` characters."""
    for text in texts:
        for start in range(0, len(text), size):
            yield text[start : start + size]
