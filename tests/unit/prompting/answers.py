"""A whole answer, put together from its pieces."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from amulet_integrations.prompting import ToolCall
from amulet_integrations.prompting.parsing.pieces import (
    CallPiece,
    InvalidCallPiece,
    Piece,
    ReasoningPiece,
    TextPiece,
)


@dataclass(frozen=True)
class WholeAnswer:
    text: str = ""
    reasoning: str = ""
    calls: tuple[ToolCall, ...] = ()
    invalid: tuple[InvalidCallPiece, ...] = ()


def join(pieces: Iterable[Piece]) -> WholeAnswer:
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
    return WholeAnswer("".join(text), "".join(reasoning), tuple(calls), tuple(invalid.values()))


def _call(parts: list[CallPiece]) -> ToolCall:
    first, *others = parts
    assert first.name is not None
    assert all(part.name is None for part in others)
    return ToolCall(
        name=first.name, arguments=json.loads("".join(part.arguments for part in parts))
    )
