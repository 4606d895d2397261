"""What an answer is made of, piece by piece as it comes, and all of it once it is whole."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from amulet_integrations.prompting.tools.tool_use import ToolCall


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
    """Some of a call.

    Attributes:
        index: Which call of the answer, from 0.
        name: The tool, in the first piece of a call.
        arguments: Some more of the arguments' JSON text.
        id: What the model named the call, if it did.
    """

    index: int
    name: str | None
    arguments: str
    id: str | None = None


@dataclass(frozen=True, slots=True)
class InvalidCallPiece:
    """A call that cannot be made, in place of all pieces before it of the same index.

    Attributes:
        index: Which call of the answer, from 0.
        text: All that the model wrote between the markers.
        error: What is wrong with it.
        name: The tool that was meant, if that is clear.
    """

    index: int
    text: str
    error: str
    name: str | None = None


Piece = TextPiece | ReasoningPiece | CallPiece | InvalidCallPiece


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer.

    Attributes:
        text: What the user reads.
        reasoning: What the model thought before.
        calls: The calls, in their order.
        invalid: The calls that cannot be made.
    """

    text: str = ""
    reasoning: str = ""
    calls: tuple[ToolCall, ...] = ()
    invalid: tuple[InvalidCallPiece, ...] = ()


def fold(pieces: Iterable[Piece]) -> Answer:
    """Puts an answer together.

    Args:
        pieces: All that a parser gave, its `flush` included.

    Returns:
        The answer; it does not depend on how the text was cut.
    """
    text, reasoning = list[str](), list[str]()
    begun = dict[int, list[CallPiece]]()
    invalid = dict[int, InvalidCallPiece]()
    for piece in pieces:
        match piece:
            case TextPiece():
                text.append(piece.text)
            case ReasoningPiece():
                reasoning.append(piece.text)
            case CallPiece():
                begun.setdefault(piece.index, []).append(piece)
            case InvalidCallPiece():
                invalid[piece.index] = piece
    calls = [_call(parts) for index, parts in begun.items() if index not in invalid]
    return Answer("".join(text), "".join(reasoning), tuple(calls), tuple(invalid.values()))


def _call(parts: list[CallPiece]) -> ToolCall:
    return ToolCall(
        name=next(part.name for part in parts if part.name is not None),
        arguments=json.loads("".join(part.arguments for part in parts)),
        id=next((part.id for part in parts if part.id is not None), None),
    )
