"""Prompt lookup: drafts of the next tokens, copied from elsewhere in the request's own text.

Answers that quote a document repeat its tokens. So where the last few tokens occur in the prompt,
the tokens that follow them there are a good guess (Saxena 2023, `prompt_lookup_num_tokens` in
transformers). A draft costs nothing but room in the next pass, and wrong tokens are taken back.
"""

from __future__ import annotations

from collections.abc import Sequence

_NGRAM = 3
_FIRST_DRAFT = 4
_LONGEST_PAUSE = 32


class PromptLookup:
    """Makes the drafts of one request.

    Drafts grow while they are right. A draft that is wrong from its first token is followed by a
    pause, twice as long each time, so that text that cannot be drafted costs next to nothing.

    Args:
        prompt: The tokens of a context.
        max_tokens: Most tokens of a draft.
    """

    def __init__(self, prompt: Sequence[int], max_tokens: int) -> None:
        self._text: list[int] = []
        # The place after each n-gram except the last one, so that it never finds itself.
        self._places: dict[tuple[int, ...], int] = {}
        self._max_tokens = max_tokens
        self._size = min(_FIRST_DRAFT, max_tokens)
        self._pause = 0
        self._next_pause = 1
        self.push(prompt)

    def push(self, tokens: Sequence[int]) -> None:
        """Appends tokens to the text."""
        for token in tokens:
            self._text.append(token)
            if len(self._text) > _NGRAM:
                self._places[tuple(self._text[-_NGRAM - 1 : -1])] = len(self._text) - 1

    def draft(self, limit: int) -> list[int]:
        """A draft of at most `limit` tokens; empty where the last tokens occur nowhere else."""
        if self._pause:
            self._pause -= 1
            return []
        place = self._places.get(tuple(self._text[-_NGRAM:]))
        if place is None:
            return []
        return self._text[place : place + min(self._size, limit)]

    def update_acceptance(self, drafted: int, right: int) -> None:
        """Adapts to how many tokens of a draft were right."""
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
