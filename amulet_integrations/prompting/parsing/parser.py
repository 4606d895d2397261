"""Reads an answer while it is being written: text, thoughts and tool calls."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from amulet_integrations.decoding.json_cursor import JsonCursor
from amulet_integrations.prompting.parsing.pieces import (
    CallPiece,
    InvalidCallPiece,
    Piece,
    TextPiece,
)
from amulet_integrations.prompting.parsing.reasoning import (
    Reasoning,
    ReasoningParser,
    marker_beginning,
)
from amulet_integrations.prompting.tools.formats import ToolFormat

_CUT_SHORT = "The call is cut short."
_NAME = re.compile(r'"name"\s*:\s*"([^"\\]*)"')


@dataclass
class _Call:
    """The tool call that is being read.

    Attributes:
        name: The tool.
        text: All that was read of the call, from its opening marker.
        error: Why the call cannot be made; "" as long as nothing is wrong with it.
        arguments: The JSON text of the arguments.
        cursor: Follows the arguments to their end.
    """

    name: str
    text: str
    error: str
    arguments: str = ""
    cursor: JsonCursor = field(default_factory=JsonCursor)


class AnswerParser:
    """Reads one answer, in whatever parts its text comes.

    Calls are expected as the grammars of `ToolFormat` write them; spaces and line breaks in them
    are ignored. The arguments of a call are passed on while they are written. A call that breaks
    off, or that cannot be made, becomes an `InvalidCallPiece`. White space right before a call,
    and after the last one, is dropped.

    Args:
        tool_format: How the model writes calls; None if there are no tools and all is text.
        tool_names: The tools that may be called.
        reasoning: Whether thoughts come first.
        calls_open_answer: Whether calls can stand only at the beginning of the answer. An answer
            that begins otherwise has no calls, whatever it contains further on.
    """

    def __init__(
        self,
        tool_format: ToolFormat | None = None,
        tool_names: Iterable[str] = (),
        reasoning: Reasoning = "none",
        *,
        calls_open_answer: bool = False,
    ) -> None:
        self._format = tool_format
        self._names = tuple(tool_names)
        self._reasoning = ReasoningParser(reasoning)
        # In the text, or in a call: before its arguments, in them, or after them.
        self._state: Literal["text", "head", "arguments", "tail"] = "text"
        self._is_start = tool_format is not None and (calls_open_answer or not tool_format.opening)
        if self._is_start:
            self._state = "head"
        self._held = ""  # has been read, but it is not yet clear what it is
        self._space = ""  # white space that is dropped if a call follows
        self._call = _Call("", "", "")
        self._count = 0  # of calls that have ended

    def push(self, text: str) -> list[Piece]:
        """Reads the next part of the answer.

        Args:
            text: The next part.

        Returns:
            The pieces that have become clear.
        """
        pieces, answer = self._reasoning.push(text)
        return pieces + self._read(answer)

    def flush(self) -> list[Piece]:
        """Ends the answer.

        Returns:
            The pieces of all that was held back.
        """
        pieces, answer = self._reasoning.flush()
        pieces += self._read(answer)
        if self._state == "arguments":
            pieces += self._end_call(_CUT_SHORT)
        elif self._state == "tail":
            pieces += self._end_call()
        elif self._state == "head" and self._is_cut_short():
            pieces.append(self._invalid_head(self._held, _CUT_SHORT))
        else:
            pieces += self._text_pieces(self._held)
        if self._space and not self._count:
            pieces.append(TextPiece(self._space))
        self._held = self._space = ""
        return pieces

    def _read(self, text: str) -> list[Piece]:
        """Reads on until nothing more is clear."""
        self._held += text
        read = {
            "text": self._read_text,
            "head": self._read_head,
            "arguments": self._read_arguments,
            "tail": self._read_tail,
        }
        pieces: list[Piece] = []
        before = None
        while self._held and (self._state, self._held) != before:
            before = self._state, self._held
            pieces += read[self._state]()
        return pieces

    def _read_text(self) -> list[Piece]:
        """Reads up to the marker that opens a call."""
        opening = self._format.opening if self._format else ""
        text, found, after = self._held.partition(opening) if opening else (self._held, "", "")
        if found:
            self._state, self._held = "head", found + after
        else:
            self._held = marker_beginning(text, opening)
            text = text.removesuffix(self._held)
        return self._text_pieces(text)

    def _read_head(self) -> list[Piece]:
        """Reads a call up to its arguments, if it is one."""
        assert self._format is not None  # noqa: S101 - without a format all is text
        head = self._format.head.match(self._held, partial=True)
        if head is None:
            return self._read_other()
        if head.partial:
            return []
        name = head.group(1)
        known = ", ".join(self._names) or "none"
        unknown = f"There is no tool {name!r}. The tools are: {known}."
        self._call = _Call(name, self._take(head.end()), "" if name in self._names else unknown)
        self._state, self._is_start, self._space = "arguments", False, ""
        return []

    def _read_other(self) -> list[Piece]:
        """Reads what only begins like a call: a broken one if it has an end, otherwise text."""
        assert self._format is not None  # noqa: S101 - without a format all is text
        opening, closing = self._format.opening, self._format.closing
        begun = bool(opening) and self._held.lstrip().startswith(opening)
        if begun and closing:
            if closing not in self._held:
                return []
            written = self._take(self._held.index(closing) + len(closing))
            self._state, self._is_start = "text", False
            return [self._invalid_head(written.removesuffix(closing), "This is no call of a tool.")]
        self._state = "text"
        if self._is_start:
            self._format = None  # no call can follow
            return []
        return self._text_pieces(self._take(len(opening) if begun else 0))

    def _read_arguments(self) -> list[Piece]:
        """Passes the arguments on, up to their closing bracket."""
        call = self._call
        end = len(self._held)
        for at, char in enumerate(self._held, 1):
            call.cursor.push(char)
            if call.cursor.depth == 0:
                self._state, end = "tail", at
                break
        arguments = self._take(end)
        name = None if call.arguments else call.name
        call.arguments += arguments
        call.text += arguments
        return [] if call.error else [CallPiece(self._count, name, arguments)]

    def _read_tail(self) -> list[Piece]:
        """Reads what follows the arguments, up to the end of the call."""
        assert self._format is not None  # noqa: S101 - without a format all is text
        tail = self._format.tail.match(self._held, partial=True)
        if tail is None:
            return self._end_call("There is more in the call than its name and its arguments.")
        if tail.partial:
            return []
        self._call.text += self._take(tail.end()).removesuffix(self._format.closing)
        return self._end_call(is_last=tail.lastindex is None)

    def _end_call(self, error: str = "", *, is_last: bool = True) -> list[Piece]:
        call = self._call
        error = call.error or error or _arguments_error(call.arguments)
        self._count += 1
        self._state = "text" if is_last else "head"
        if not error:
            return []
        return [InvalidCallPiece(self._count - 1, self._unmarked(call.text), error, call.name)]

    def _invalid_head(self, text: str, error: str) -> InvalidCallPiece:
        self._space = ""
        self._count += 1
        return InvalidCallPiece(self._count - 1, self._unmarked(text), error)

    def _is_cut_short(self) -> bool:
        """Whether what is held, at the end of the answer, is the beginning of a call."""
        assert self._format is not None  # noqa: S101 - without a format all is text
        if self._format.head.match(self._held, partial=True) is None:
            return False
        if self._format.opening:
            return self._held.lstrip().startswith((self._format.opening, ","))
        name = _NAME.search(self._held)
        return name is not None and name.group(1) in self._names

    def _unmarked(self, text: str) -> str:
        opening = self._format.opening if self._format else ""
        return text.strip().removeprefix(opening).strip()

    def _take(self, length: int) -> str:
        taken, self._held = self._held[:length], self._held[length:]
        return taken

    def _text_pieces(self, text: str) -> list[Piece]:
        """The text without white space at its end, which is held back if a call may follow."""
        if self._format is None:
            return [TextPiece(text)] if text else []
        text = self._space + text
        self._space = text[len(text.rstrip()) :]
        text = text.rstrip()
        return [TextPiece(text)] if text else []


def _arguments_error(arguments: str) -> str:
    """Why a JSON text cannot be used as arguments; "" if it can."""
    try:
        value = json.loads(arguments)
        # Refuses NaN, numbers that are too large for a float, and halves of surrogate pairs.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        return f"The arguments are no JSON: {error}"
    return ""
