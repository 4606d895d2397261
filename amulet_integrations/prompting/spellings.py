"""How a template spells a text: as it is, as JSON, or as Python shows it in a list."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import product

_DEEPEST = 3  # JSON within JSON within JSON


@dataclass(frozen=True)
class Spelling:
    """A way to write a text.

    Attributes:
        json_levels: One for each time that the text is written as JSON, the first one first: True
            if all characters past ASCII are escaped.
        in_repr: Whether it stands in a string as Python's `repr` writes it, after that.
    """

    json_levels: tuple[bool, ...] = ()
    in_repr: bool = False

    def as_json(self, text: str) -> str:
        """The text as JSON at all levels, without the outer quotes."""
        for is_ascii in self.json_levels:
            text = json.dumps(text, ensure_ascii=is_ascii)[1:-1]
        return text

    def encode(self, text: str, quote: str = "'") -> str:
        """The text in this spelling, without the outer quotes.

        Args:
            text: The text.
            quote: What Python puts around the string. `"` only for strings that hold none.
        """
        text = self.as_json(text)
        if not self.in_repr:
            return text
        other = '"' if quote == "'" else "'"  # as Python picks the quotes by what is in them
        return repr(other + text)[2:-1]


def _levels(depth: int) -> list[tuple[bool, ...]]:
    """Once everything is ASCII, it makes no difference how further levels are written."""
    return [(False,) * plain + (True,) * (depth - plain) for plain in range(depth + 1)]


SPELLINGS = [
    Spelling(levels, in_repr)
    for depth, in_repr in product(range(_DEEPEST + 1), (False, True))
    for levels in _levels(depth)
]
"""All spellings that are known here."""


def spelled(characters: str) -> str:
    """A regular expression for any of some characters past U+FFFF, in all spellings.

    It finds all backslashes in front of an escape; see `slashes_before`.
    """
    if not characters:
        return "(?!)"
    escapes = []
    for character in characters:
        high, low = _surrogates(character)
        escapes.append(rf"U{ord(character):08x}|u{high:04x}\\{{1,8}}u{low:04x}")
    return rf"(?:[{characters}]|(?<!\\)\\+(?:{'|'.join(escapes)}))"


def slashes_before(written: str) -> int:
    """How many backslashes in front of what `spelled` found belong to the text before it.

    Each of the text's own backslashes is written as twice as many as stand before the escape.
    """
    slashes = len(written) - len(written.lstrip("\\"))
    return slashes - (slashes & -slashes)


def character_of(written: str) -> str:
    """The character that `spelled` found."""
    if len(written) == 1:
        return written
    code, *low = (int(it[1:], 16) for it in re.split(r"\\+", written)[1:])
    return chr(0x10000 + ((code - 0xD800) << 10) + low[0] - 0xDC00 if low else code)


def with_characters(text: str, pattern: re.Pattern[str]) -> str:
    """A text with characters in place of their escapes; `pattern` is that of `spelled`."""

    def replace(match: re.Match[str]) -> str:
        return "\\" * slashes_before(match[0]) + character_of(match[0])

    return pattern.sub(replace, text)


def spelled_in(text: str) -> set[str]:
    """The characters past U+FFFF that a text holds as escapes."""
    if "\\" not in text:
        return set()
    found = re.findall(
        r"\\U000[0-9a-f]{5}|\\u(?=d[89ab])[0-9a-f]{4}\\{1,8}ud[c-f][0-9a-f]{2}", text
    )
    return set(map(character_of, found))


def _surrogates(character: str) -> tuple[int, int]:
    high, low = divmod(ord(character) - 0x10000, 0x400)
    return 0xD800 + high, 0xDC00 + low
