"""Token ids to text, token by token, in whole characters."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_LONGEST = 16  # tokens; decoding so many takes hardly longer than decoding one
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class IncrementalDetokenizer:
    """Decodes a growing completion and returns each character once it is whole.

    A token may hold part of a character, and its text may depend on the token before it (leading
    spaces). So each piece is the difference between two decodings that start at the same earlier
    token, as in Hugging Face's text-generation-inference. This works with any tokenizer, whereas
    `tokenizers.DecodeStream` needs a fast one and fails on invalid bytes.

    Args:
        tokenizer: The model's tokenizer.
        skip_special_tokens: Whether special tokens are left out of the text.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, *, skip_special_tokens: bool = True
    ) -> None:
        self._tokenizer = tokenizer
        self._skip_special_tokens = skip_special_tokens
        self._ids: list[int] = []
        self._start = 0  # the token at which both decodings begin
        self._done = 0  # number of tokens whose text has been returned
        self._returned = ""  # the decoding of ids[start:done]

    def push(self, token_id: int) -> str:
        """Appends a token; returns the text that is now certain, often all of it."""
        self._ids.append(token_id)
        text = self._decode(self._start)
        piece = self._piece(text)
        if not piece or text.endswith(_REPLACEMENT):
            return ""
        self._returned = text
        before, self._done = self._done, len(self._ids)
        if self._done - self._start > _LONGEST:
            self._start = before
            self._returned = self._decode(before)
        return piece

    def flush(self) -> str:
        """Returns the rest of the text, bytes that never became a whole character, at the end."""
        return self._piece(self._decode(self._start))

    def _piece(self, text: str) -> str:
        """What is new in the decoding of ids[start:]."""
        if text.startswith(self._returned):
            return text[len(self._returned) :]
        # Tokens that are bytes become text together: a wrong byte spoils the right ones before it.
        return self._decode(self._done)

    def _decode(self, start: int) -> str:
        text = self._tokenizer.decode(
            self._ids[start:],
            skip_special_tokens=self._skip_special_tokens,
            clean_up_tokenization_spaces=False,
        )
        return str(text)
