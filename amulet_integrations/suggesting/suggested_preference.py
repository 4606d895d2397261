"""A preference that a model has read out of a user's words, and that nobody has confirmed yet."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Kind = Literal["length", "language", "format", "tone", "content", "other"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class SuggestedPreference:
    """A candidate. It is stored by `accept_suggestions`, and by nothing else.

    Attributes:
        user_id: Whose conversation it is from; the caller said so, not the conversation.
        text: The preference, as an instruction of one line.
        quote: The user's words that it rests on, which do occur in `message`.
        kind: What it is about.
        message: The number of the user's message among all messages of the conversation, from 0.
    """

    user_id: str
    text: str = field(repr=False)
    quote: str = field(repr=False)
    kind: Kind
    message: int

    @property
    def id(self) -> str:
        """Eight characters that stand for this user, text and quote."""
        whole = f"{self.user_id}\0{self.text}\0{self.quote}"
        return hashlib.sha256(whole.encode(errors="backslashreplace")).hexdigest()[:8]

    def as_json(self) -> dict[str, Any]:
        """The candidate as plain JSON values, with its texts."""
        return {"id": self.id, **vars(self)}


@dataclass(frozen=True)
class Suggestions:
    """What a model suggested; a sequence of the candidates.

    Attributes:
        candidates: The candidates, in the order of the model.
        rejected: Why each other suggestion of the model is no candidate.
        left_out: How many of the user's messages, the oldest, had no room in the prompt.
    """

    candidates: tuple[SuggestedPreference, ...]
    rejected: tuple[str, ...] = ()
    left_out: int = 0

    def __iter__(self) -> Iterator[SuggestedPreference]:
        return iter(self.candidates)

    def __len__(self) -> int:
        return len(self.candidates)

    def __getitem__(self, number: int) -> SuggestedPreference:
        return self.candidates[number]
