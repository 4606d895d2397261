"""Calls written as JSON, read character by character: an object, a list of them, or several."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NoReturn

from amulet_integrations.decoding.json_cursor import JsonCursor
from amulet_integrations.prompting.parsing.pieces import CallPiece, InvalidCallPiece, Piece

ARGUMENT_KEYS = ("arguments", "parameters")

# A call in its usual order, up to its arguments: from there on they can be passed on as they come.
_HEAD = re.compile(r'\{\s*"name"\s*:\s*"([^"\\]*)"\s*,\s*"(?:arguments|parameters)"\s*:\s*')
_FENCE = re.compile(r"```[a-z]*")
# What may stand around calls: nothing, one list's brackets, or what separates them.
_AROUND = re.compile(r"\[,*\]?|[,;]*")


class BadCallError(ValueError):
    """What the model wrote is no call that can be made; caught within the parser."""


@dataclass(frozen=True)
class ReadCall:
    """A call as read from a whole JSON object."""

    name: str
    arguments: dict[str, Any]
    id: str | None = None


class CallObject:
    """One call, the JSON object that it is written as, while it comes.

    Args:
        index: Its place in the answer.
        names: The tools that there are.
        name: The tool, where the object is the arguments alone.

    Attributes:
        name: The tool that is called, once that is clear.
        streams: Whether the arguments are passed on as they come.
    """

    def __init__(self, index: int, names: Collection[str], name: str | None = None) -> None:
        self.name = name
        self.streams = False
        self._index = index
        self._names = names
        self._arguments_alone = name is not None
        self._text: list[str] = []
        self._arguments: list[str] = []
        self._passed_on = 0
        self._depth = 0
        self._head_is_read = False
        self._in_arguments = False

    @property
    def text(self) -> str:
        """What was written so far."""
        return "".join(self._text)

    def push(self, char: str, depth: int) -> None:
        """Reads a character.

        Args:
            char: The character.
            depth: How deep the text stands after it: 1 in the object itself.
        """
        inside = 1 if self._arguments_alone else 2
        if depth == inside > self._depth and not self._head_is_read:
            self._read_head(char)
        if self._in_arguments:
            self._arguments.append(char)
            self._in_arguments = depth >= inside
        self._text.append(char)
        self._depth = depth

    def _read_head(self, char: str) -> None:
        """At the first bracket inside: whether all before it is a call's usual beginning."""
        self._head_is_read = True
        if not self._arguments_alone:
            head = _HEAD.fullmatch(self.text)
            self.name = head.group(1) if head else None
        self.streams = self._in_arguments = char == "{" and self.name in self._names

    def take_pieces(self) -> list[Piece]:
        """What can be passed on by now and was not yet."""
        more = "".join(self._arguments[self._passed_on :])
        if not more:
            return []
        name = self.name if self._passed_on == 0 else None
        self._passed_on = len(self._arguments)
        return [CallPiece(self._index, name, more)]

    def finish(self) -> list[Piece]:
        """The rest of the call, once the object is whole."""
        try:
            call = self._read_whole()
        except BadCallError as error:
            return [InvalidCallPiece(self._index, self.text, str(error), self.name)]
        if self.streams:
            rest = self.take_pieces()
            return rest + ([CallPiece(self._index, None, "", call.id)] if call.id else [])
        arguments = json.dumps(call.arguments, ensure_ascii=False)
        return [CallPiece(self._index, call.name, arguments, call.id)]

    def _read_whole(self) -> ReadCall:
        written = read_json(self.text)
        if self._arguments_alone and self.name is not None:
            call = ReadCall(self.name, check_arguments(written))
        else:
            call = read_call(written)
        if call.name not in self._names:
            known = ", ".join(self._names) or "none"
            raise BadCallError(f"There is no tool {call.name!r}. The tools are: {known}.")
        streamed = (self.name, "".join(self._arguments))
        if self.streams and (call.name, call.arguments) != (streamed[0], read_json(streamed[1])):
            raise BadCallError("The call names its tool or its arguments twice.")
        return call


class CallSequence:
    """All calls between two markers.

    Args:
        index: The place of the first one in the answer.
        names: The tools that there are.
        name: The tool, where the JSON is the arguments alone.

    Attributes:
        index: The place of the next call.
        began: Whether a bracket has been read.
        streams: Whether some of a call has been passed on.
    """

    def __init__(self, index: int, names: Collection[str], name: str | None = None) -> None:
        self.index = index
        self.began = False
        self.streams = False
        self._first = index
        self._names = names
        self._name = name
        self._text: list[str] = []
        self._around: list[str] = []
        self._cursor = JsonCursor()
        self._open: CallObject | None = None
        self._bottom = 0  # how deep the objects stand: 1 inside a list

    @property
    def text(self) -> str:
        """All that was read."""
        return "".join(self._text)

    @property
    def closed(self) -> bool:
        """Whether all brackets are closed again."""
        return self.began and self._cursor.depth == 0 and not self._cursor.in_string

    @property
    def cut_short(self) -> bool:
        """Whether it would be an error to end here."""
        return self._open is not None or not self.began or self._cursor.in_string

    def push(self, char: str) -> list[Piece]:
        """Reads a character; gives the end of a call where one ends."""
        self._text.append(char)
        before, was_string = self._cursor.depth, self._cursor.in_string
        self._cursor.push(char)
        if self._open is None:
            if char == "[" and not self.began:
                self._bottom = 1
            self.began = self.began or char in "[{"
            if char != "{" or was_string or before != self._bottom:
                self._around.append(char)
                return []
            self._open = CallObject(self.index, self._names, self._name)
        self._open.push(char, self._cursor.depth - self._bottom)
        self.streams = self.streams or self._open.streams
        if self._cursor.depth > self._bottom:
            return []
        pieces = self._open.finish()
        self._open = None
        self.index += 1
        return pieces

    def take_pieces(self) -> list[Piece]:
        """What can be passed on of the call that is being written."""
        return self._open.take_pieces() if self._open else []

    def finish(self) -> list[Piece]:
        """What is to be said once nothing more comes: nothing, or what is wrong."""
        name = self._open.name if self._open else None
        if self.cut_short:
            error = "The call is cut short."
        elif not _AROUND.fullmatch(re.sub(r"\s", "", _FENCE.sub("", "".join(self._around)))):
            error = "There is more around the call than belongs there."
        elif self.index == self._first:
            error = "There is no call in it."
        else:
            return []
        fresh = self._open is not None or self.index == self._first
        index = self.index if fresh else self.index - 1
        self._open, self.index = None, index + 1
        return [InvalidCallPiece(index, self.text.strip(), error, name)]


def read_call(written: Any) -> ReadCall:
    """Reads a call in any of the ways in which models write them.

    Args:
        written: A JSON value.

    Raises:
        BadCallError: It is no call.
    """
    if not isinstance(written, dict):
        raise BadCallError("A call is a JSON object.")
    outer = written
    inner = written.get("function")
    if isinstance(inner, dict):
        written = inner
    name = written.get("name", inner)
    if not isinstance(name, str):
        raise BadCallError('The call has no "name" that is a string.')
    key = next((key for key in ARGUMENT_KEYS if key in written), None)
    arguments = check_arguments({} if key is None else written[key])
    call_id = outer.get("id")
    return ReadCall(name, arguments, call_id if isinstance(call_id, str) else None)


def check_arguments(arguments: Any) -> dict[str, Any]:
    """The arguments of a call, which may be JSON in a string.

    Raises:
        BadCallError: They are no object.
    """
    if isinstance(arguments, str):
        arguments = read_json(arguments)
    if arguments is None:
        return {}
    if not isinstance(arguments, dict):
        raise BadCallError("The arguments are no JSON object.")
    return arguments


def read_json(text: str) -> Any:
    """Reads JSON as the standard has it, without NaN, numbers past all bounds and half characters.

    Raises:
        BadCallError: It is no such JSON.
    """
    try:
        value = json.loads(text, parse_constant=_refuse)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise BadCallError(f"The call is no JSON: {error}") from None
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
