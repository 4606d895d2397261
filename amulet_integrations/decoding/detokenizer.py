"""Token ids to text, token by token, never half a character."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class IncrementalDetokenizer:
    """Decodes a growing completion and gives out each character once it is whole.

    A token may hold part of a character, and its text may depend on the token before it (leading
    spaces). So each piece is the difference between two decodings that start at the same earlier
    token: the way of Hugging Face's text-generation-inference. Works with any tokenizer;
    `tokenizers.DecodeStream` does not know the slow ones and gives up on invalid bytes.

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
        self._start = 0  # where the two decodings begin
        self._done = 0  # tokens whose text has been given out
        self._given = ""  # the decoding of ids[start:done]

    def push(self, token_id: int) -> str:
        """Takes the next token; returns the text that is now certain, often all of it."""
        self._ids.append(token_id)
        text = self._decode(self._start)
        if len(text) <= len(self._given) or text.endswith(_REPLACEMENT):
            return ""
        piece = text[len(self._given) :]
        self._start, self._done = self._done, len(self._ids)
        self._given = self._decode(self._start)
        return piece

    def flush(self) -> str:
        """Returns the text of what is left: bytes that never became a whole character."""
        piece = self._decode(self._start)[len(self._given) :]
        self._start = self._done = len(self._ids)
        self._given = ""
        return piece

    def _decode(self, start: int) -> str:
        text = self._tokenizer.decode(
            self._ids[start:],
            skip_special_tokens=self._skip_special_tokens,
            clean_up_tokenization_spaces=False,
        )
        return str(text)
