"""Guesses at the next tokens, copied from what the request's own text says elsewhere.

Prompt lookup (Saxena 2023, `prompt_lookup_num_tokens` in transformers): answers that quote a
document repeat its tokens, so where the last few tokens stand in the prompt, what follows them
there is a good guess. A guess costs nothing but room in the next pass; what the model would not
have written is taken back.
"""

from __future__ import annotations

from collections.abc import Sequence

_NGRAM = 3
_FIRST_DRAFT = 4
_LONGEST_PAUSE = 32


class PromptLookup:
    """The drafts of one request.

    Drafts grow while they prove right. After one that was wrong from its first token there is a
    pause, twice as long each time, so that text that cannot be drafted costs next to nothing.

    Args:
        prompt: The tokens of a context.
        max_tokens: Most tokens of a draft.
    """

    def __init__(self, prompt: Sequence[int], max_tokens: int) -> None:
        self._text = list(prompt)
        self._max_tokens = max_tokens
        # The place after each n-gram, but for the last one, so that it never finds itself.
        ngrams = zip(*(prompt[start:-1] for start in range(_NGRAM)), strict=False)
        self._places = dict(zip(ngrams, range(_NGRAM, len(prompt)), strict=False))
        self._size = min(_FIRST_DRAFT, max_tokens)
        self._pause = 0
        self._next_pause = 1

    def push(self, tokens: Sequence[int]) -> None:
        """Takes the tokens that the text goes on with."""
        for token in tokens:
            self._text.append(token)
            # The n-gram before this token, so that it never finds itself.
            if len(self._text) > _NGRAM:
                self._places[tuple(self._text[-_NGRAM - 1 : -1])] = len(self._text) - 1

    def draft(self, limit: int) -> list[int]:
        """Guesses at the next tokens, `limit` at most; none where there is nothing to go by."""
        if self._pause:
            self._pause -= 1
            return []
        place = self._places.get(tuple(self._text[-_NGRAM:]))
        if place is None:
            return []
        return self._text[place : place + min(self._size, limit)]

    def learn(self, drafted: int, right: int) -> None:
        """Is told how many tokens of a draft were right."""
        if right == drafted:
            self._size = min(2 * self._size, self._max_tokens)
        elif right == 0:
            self._size = min(_FIRST_DRAFT, self._max_tokens)
            self._pause = self._next_pause
            self._next_pause = min(2 * self._next_pause, _LONGEST_PAUSE)
            return
        else:
            self._size = max(min(_FIRST_DRAFT, self._max_tokens), right + 1)
        self._next_pause = 1
