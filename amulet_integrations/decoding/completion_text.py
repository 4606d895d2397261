"""The text of a completion, token by token, up to a stop string."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from .detokenizer import IncrementalDetokenizer
from .stopping import StopStrings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """The tokens that decoding with `skip_special_tokens` leaves out, and their texts."""
    texts = {token: added.content for token, added in tokenizer.added_tokens_decoder.items()}
    return {
        token: text
        for token, text in texts.items()
        if text and not tokenizer.decode([token], skip_special_tokens=True)
    }


class CompletionText:
    """Turns the tokens of a growing completion into its text.

    Stop strings are looked for in the text with its special tokens, also where the text that is
    returned leaves these out. An ordinary stop string is looked for in what is returned.

    Args:
        tokenizer: The model's tokenizer.
        stops: Strings that end the text; they are not part of it.
        hidden: The texts of the tokens that the text leaves out. An entry is needed only where
            there are stop strings.
        skip_special_tokens: Whether special tokens are left out of the text.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        stops: Sequence[str] = (),
        hidden: Mapping[int, str] | None = None,
        *,
        skip_special_tokens: bool = True,
    ) -> None:
        self._detokenizer = IncrementalDetokenizer(
            tokenizer, skip_special_tokens=skip_special_tokens
        )
        self._hidden = hidden or {}
        self._stops = StopStrings(stops, self._hidden.values())

    @property
    def is_stopped(self) -> bool:
        """Whether a stop string has ended the text."""
        return self._stops.found is not None

    def push(self, token: int, *, is_end: bool = False, may_stop: bool = True) -> str:
        """Appends a token.

        Args:
            token: The token.
            is_end: Whether it ends the completion. It is no part of the text then.
            may_stop: Whether a stop string may end the text at this token.

        Returns:
            The text that is now certain.
        """
        text = "" if is_end else self._push(self._detokenizer.push(token), may_stop)
        if may_stop and token in self._hidden:
            text += self._stops.push(self._hidden[token], hidden=True)
        return text

    def finish(self, *, may_stop: bool = True) -> str:
        """Returns the rest of the text, once no more tokens follow."""
        # The last bytes may be those of a stop string.
        text = self._push(self._detokenizer.flush(), may_stop)
        return text + self._stops.flush()

    def _push(self, text: str, may_stop: bool) -> str:
        return self._stops.push(text) if may_stop else self._stops.flush() + text
