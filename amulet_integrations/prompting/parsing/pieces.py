"""The pieces that an answer is read as, in the order in which they are written."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TextPiece:
    """Some of the text that the user reads."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningPiece:
    """Some of what the model thought before it answered."""

    text: str


@dataclass(frozen=True, slots=True)
class CallPiece:
    """Some of a tool call.

    Attributes:
        index: The number of the call in the answer, from 0.
        name: The tool, in the first piece of a call; None in the others.
        arguments: The next part of the arguments' JSON text.
    """

    index: int
    name: str | None
    arguments: str


@dataclass(frozen=True, slots=True)
class InvalidCallPiece:
    """A tool call that cannot be made. It replaces all earlier pieces of the same index.

    Attributes:
        index: The number of the call in the answer, from 0.
        text: What the model wrote between the markers.
        error: Why the call cannot be made.
        name: The tool that was called; None if the name was not complete.
    """

    index: int
    text: str
    error: str
    name: str | None = None


Piece = TextPiece | ReasoningPiece | CallPiece | InvalidCallPiece
