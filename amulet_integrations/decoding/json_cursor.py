"""The position in a JSON text that is read piece by piece."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self

_QUOTE, _BACKSLASH, _COLON, _COMMA = b'"\\:,'
_OPENING, _CLOSING = b"{[", b"}]"

_Part = Literal["key", "value"]


@dataclass(slots=True)
class JsonCursor:
    """Follows a JSON text that is being written.

    The text is not checked: for text that is no JSON the attributes mean nothing. Text around the
    JSON does no harm as long as it has neither quotes nor unbalanced brackets.

    Attributes:
        containers: The objects and arrays that are open, outermost first, as their brackets.
        in_string: Whether the position is inside a string.
    """

    containers: bytes = b""
    in_string: bool = False
    _escaped: bool = False
    _part: _Part = "value"

    @property
    def depth(self) -> int:
        """How many objects and arrays are open."""
        return len(self.containers)

    @property
    def in_string_value(self) -> bool:
        """Whether the position is inside a string that is no property name."""
        return self.in_string and self._part == "value"

    def push(self, text: str | bytes) -> None:
        """Reads the next piece. It may end within a UTF-8 character, since only ASCII matters."""
        for byte in text.encode() if isinstance(text, str) else text:
            if self.in_string:
                self._read_inside(byte)
            else:
                self._read_outside(byte)

    def copy(self) -> Self:
        """A cursor at the same position."""
        return replace(self)

    def _read_inside(self, byte: int) -> None:
        if self._escaped:
            self._escaped = False
        elif byte == _BACKSLASH:
            self._escaped = True
        elif byte == _QUOTE:
            self.in_string = False

    def _read_outside(self, byte: int) -> None:
        if byte == _QUOTE:
            self.in_string = True
        elif byte in _OPENING:
            self.containers += bytes([byte])
            self._part = "key" if byte == _OPENING[0] else "value"
        elif byte in _CLOSING:
            self.containers = self.containers[:-1]
        elif byte == _COLON:
            self._part = "value"
        elif byte == _COMMA:
            self._part = "key" if self.containers.endswith(b"{") else "value"
