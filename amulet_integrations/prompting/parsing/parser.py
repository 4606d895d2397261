"""Reads an answer while it is being written: text, thoughts and tool calls."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import regex

from amulet_integrations.decoding.json_cursor import JsonCursor
from amulet_integrations.prompting.tools.formats import ToolFormat

from .pieces import CallPiece, InvalidCallPiece, Piece, TextPiece
from .reasoning import Reasoning, ReasoningParser

_CUT_SHORT = "The call is cut short."
_NAME = re.compile(r'[^{]*\{\s*"name"\s*:\s*"([^"\\]*)"')
_NO_CALL = regex.compile(r"(?!)")  # matches nothing


@dataclass
class _Call:
    """The tool call that is being read.

    Attributes:
        name: The tool.
        text: All that was read of the call, without its markers.
        error: Why the call cannot be made; "" as long as nothing is wrong with it.
        arguments: The JSON text of the arguments.
        cursor: Follows the arguments to their end.
    """

    name: str
    text: str = ""
    error: str = ""
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
        find_fault: Says what is wrong with the arguments of a call, given the tool's name; "" for
            nothing.
    """

    def __init__(
        self,
        tool_format: ToolFormat | None = None,
        tool_names: Iterable[str] = (),
        reasoning: Reasoning = "none",
        *,
        calls_open_answer: bool = False,
        find_fault: Callable[[str, Any], str] = lambda _name, _arguments: "",
    ) -> None:
        self._find_fault = find_fault
        self._head = tool_format.head if tool_format else _NO_CALL
        self._tail = tool_format.tail if tool_format else _NO_CALL
        self._opening = tool_format.opening if tool_format else ""
        self._closing = tool_format.closing if tool_format else ""
        self._names = tuple(tool_names)
        self._reasoning = ReasoningParser(reasoning)
        self._state: Literal["text", "arguments", "tail"] = "text"
        # Whether the answer may still begin with a call, and calls can stand only there.
        self._is_start = tool_format is not None and (calls_open_answer or not self._opening)
        self._held = ""  # has been read, but it is not yet clear what it is
        self._space = ""  # white space that is dropped if a call follows
        self._call = _Call("")
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
        held, self._held = self._held, ""
        if self._state == "arguments":
            pieces += self._end_call(_CUT_SHORT)
        elif self._state == "tail":
            pieces += self._end_call()
            held = held.partition(",")[2]  # another call of a list may have begun
            pieces += self._invalid_call(held, _CUT_SHORT) if held else []
        elif self._is_cut_short(held):
            pieces += self._invalid_call(held.strip().removeprefix(self._opening), _CUT_SHORT)
        else:
            pieces += self._text_pieces(held)
        if self._space and not self._count:
            pieces.append(TextPiece(self._space))
        self._space = ""
        return pieces

    def _read(self, text: str) -> list[Piece]:
        """Reads on until nothing more is clear."""
        self._held += text
        read = {
            "text": self._read_text,
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
        """Reads up to the arguments of the next call."""
        if self._is_start:
            start = self._held.lstrip()
            found = self._head.match(start, partial=True)
            if found is not None and found.partial:
                return []
            self._is_start = False
            if found is None:
                self._head = _NO_CALL  # no call can follow
            else:
                self._held = start
        found = self._head.search(self._held, partial=True)
        pieces = self._text_pieces(self._take(found.start() if found else len(self._held)))
        if found is None or found.partial:
            return pieces
        if not self._opening:
            self._head = _NO_CALL  # the answer is this one call
        written = self._take(len(found.group())).removeprefix(self._opening)
        if found.group("name") is None:
            broken = written.removesuffix(self._closing)
            return pieces + self._invalid_call(broken, "This is no call of a tool.")
        self._begin_call(found.group("name"), written)
        return pieces

    def _begin_call(self, name: str, text: str) -> None:
        known = ", ".join(self._names) or "none"
        error = "" if name in self._names else f"There is no tool {name!r}. The tools are: {known}."
        self._call = _Call(name, text, error)
        self._state, self._space = "arguments", ""

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
        """Reads what follows the arguments: the end of the call, or the next one of a list."""
        found = self._tail.match(self._held, partial=True)
        if found is None:
            return self._end_call("There is more in the call than its name and its arguments.")
        if found.partial:
            return []
        end, comma, following = self._take(found.end()).partition(",")
        self._call.text += end.removesuffix(self._closing)
        pieces = self._end_call()
        if comma:
            self._begin_call(found.group("name"), following)
        return pieces

    def _end_call(self, error: str = "") -> list[Piece]:
        call, self._state = self._call, "text"
        error = call.error or error or self._arguments_error(call)
        if error:
            return self._invalid_call(call.text, error, call.name)
        self._count += 1
        return []

    def _arguments_error(self, call: _Call) -> str:
        """Why the arguments of a call cannot be used; "" if they can."""
        try:
            value = json.loads(call.arguments)
            # Refuses NaN, numbers too large for a float, and halves of surrogate pairs.
            json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        except (ValueError, RecursionError) as error:
            return f"The arguments are no JSON: {error}"
        fault = self._find_fault(call.name, value)
        return f"The arguments do not follow the tool's schema. {fault}" if fault else ""

    def _invalid_call(self, text: str, error: str, name: str | None = None) -> list[Piece]:
        self._space = ""
        self._count += 1
        return [InvalidCallPiece(self._count - 1, text.strip(), error, name)]

    def _is_cut_short(self, held: str) -> bool:
        """Whether what is held at the end of the answer is the beginning of a call."""
        begun = held.lstrip()
        if not self._opening:
            name = _NAME.match(begun)
            return self._is_start and name is not None and name.group(1) in self._names
        if not begun.startswith(self._opening):
            return False
        # A format with a closing marker holds everything back that follows an opening one.
        return not self._closing or begun.removeprefix(self._opening).lstrip()[:1] in ("", "{")

    def _take(self, length: int) -> str:
        taken, self._held = self._held[:length], self._held[length:]
        return taken

    def _text_pieces(self, text: str) -> list[Piece]:
        """The text without white space at its end, which is held back if a call may follow."""
        if self._head is _NO_CALL and not self._count:
            return [TextPiece(text)] if text else []
        text = self._space + text
        self._space = text[len(text.rstrip()) :]
        text = text.rstrip()
        return [TextPiece(text)] if text else []
