"""Escapes the control tokens in what people write, while the chat template renders it.

The text of a rendered prompt does not show whether a control token in it is the template's or came
out of a message. So messages are escaped before they are rendered: the first and the last character
of every control token (in practice `<`, `>`, `[`, `]`) are exchanged, one for one, for private-use
characters that occur nowhere in the conversation or the template. The template gets contents of the
same length, with the same words and spaces, and treats them as always. Undoing the escaping
afterwards gives exactly the text that it would have rendered, and the places of the escaped
characters. Strings in tools, calls, results and schemas are escaped in the same way, whoever writes
them as JSON.

Why this is safe: a run of text that is read as a control token and takes characters from a message
begins or ends inside that message, so its first or last character was escaped. (The one exception
would be a template that writes the two ends of a token around a whole message.) `PromptTokenizer`
makes sure that no such run is read as a control token.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from secrets import token_hex
from typing import Any, NamedTuple

from amulet_integrations.errors import PromptError

from .spellings import spelled, spelled_in, with_characters

PRIVATE_USE = range(0xF0000, 0xFFFFE)
"""Code points that stand for escaped characters."""

MAX_DEPTH = 256
"""Most levels of lists and dicts in what the template is given, which it walks by recursion."""

_SPARE = 2  # characters besides those that stand for others

# Characters that JSON itself writes as escapes.
_JSON_ESCAPED = frozenset([*range(0x20), *map(ord, '"\\')])

# Words that templates look for in the schemas of tools.
_SCHEMA_WORDS = frozenset(
    {
        *("type", "properties", "required", "items", "enum", "description", "title", "default"),
        *("anyOf", "oneOf", "allOf"),
        *("object", "array", "string", "number", "integer", "boolean", "null"),
    }
)


class PromptText(NamedTuple):
    """A prompt or a part of one.

    Attributes:
        text: The text, with its escaping undone.
        escaped: One byte for each character: 1 if the character was escaped.
    """

    text: str
    escaped: bytes

    def part(self, start: int, end: int) -> PromptText:
        """The part from `start` up to `end`."""
        return PromptText(self.text[start:end], self.escaped[start:end])

    def ends_with(self, marker: str) -> bool:
        """Whether the text, without white space at its end, ends with the template's `marker`."""
        end = len(self.text.rstrip())
        start = end - len(marker)
        return self.text[:end].endswith(marker) and not any(self.escaped[start:end])


class ControlTokenEscaper:
    """Exchanges the first and last characters of control tokens for private-use characters.

    Args:
        edges: The characters to exchange.
        contents: The texts that will be escaped, and everything else that the private-use
            characters must not occur in.

    Attributes:
        spare: Two more characters that occur nowhere in the contents.
        word: A word of ASCII letters and digits that occurs nowhere in them, in any case.

    Raises:
        PromptError: The contents hold nearly all private-use characters.
    """

    def __init__(self, edges: Iterable[str], contents: Iterable[str]) -> None:
        contents = list(contents)
        taken = set().union(*contents, *map(spelled_in, contents))
        edges = list(edges)
        unused = (code for code in PRIVATE_USE if chr(code) not in taken)
        free = list(islice(unused, len(edges) + _SPARE))
        if len(free) < len(edges) + _SPARE:
            raise PromptError(
                f"The messages hold {len(PRIVATE_USE) - len(free)} of the {len(PRIVATE_USE)} "
                "private-use characters of Unicode's plane 15, so too few are left to tell text "
                "from control tokens. Leave them out."
            )
        aliases = dict(zip(map(ord, edges), free, strict=False))
        self.spare: list[str] = list(map(chr, free[len(edges) :]))
        self.word: str = _unused_word("\n".join(contents).lower())
        self._aliases = aliases
        self._json_aliases = {
            original: alias for original, alias in aliases.items() if original not in _JSON_ESCAPED
        }
        self._originals = {alias: original for original, alias in aliases.items()}
        written = "".join(map(chr, aliases.values()))
        self._escaped = re.compile(f"[{written}]" if written else "(?!)")
        self._spelled = re.compile(spelled(written))

    def escape(self, content: str) -> str:
        """A text with its control tokens escaped."""
        return content.translate(self._aliases)

    def escape_json(self, value: Any) -> Any:
        """A JSON value with the control tokens escaped in every string and every name.

        Characters that JSON writes as escapes stay as they are, so that they are still escaped
        when the value is written as JSON.
        """
        if isinstance(value, str):
            return value if value in _SCHEMA_WORDS else value.translate(self._json_aliases)
        if isinstance(value, dict):
            return {self.escape_json(name): self.escape_json(held) for name, held in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.escape_json(held) for held in value]
        return value

    def escape_values(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """A mapping with its values escaped as JSON, and its own names left as they are."""
        return {name: self.escape_json(value) for name, value in values.items()}

    def unescape(self, rendered: str) -> PromptText:
        """The prompt that was rendered from escaped messages."""
        if "\\" in rendered:  # the template may have written characters as escapes
            rendered = with_characters(rendered, self._spelled)
        escaped = bytearray(len(rendered))
        for match in self._escaped.finditer(rendered):
            escaped[match.start()] = 1
        return PromptText(rendered.translate(self._originals), bytes(escaped))


def _unused_word(lowered: str) -> str:
    """A word with letters of both cases that a text in lower case does not hold."""
    word = "aBqzX"
    while word.lower() in lowered:
        word = f"aB{token_hex(4)}X"
    return word


def iter_strings(value: Any, deepest: int = MAX_DEPTH) -> Iterator[str]:
    """Every string in a JSON value, names included.

    Args:
        value: The value.
        deepest: How many levels of lists and dicts it may have.

    Raises:
        PromptError: Something in it is not JSON, or it is nested too deeply.
    """
    if isinstance(value, (list, tuple, dict)) and not deepest:
        raise PromptError(
            "A tool, a call, a schema or a template's argument is nested too deeply: more than "
            f"{MAX_DEPTH} levels, the limit. Leave the inner ones out, or write them as a string."
        )
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, tuple)):
        for held in value:
            yield from iter_strings(held, deepest - 1)
    elif isinstance(value, dict) and all(isinstance(name, str) for name in value):
        yield from value
        for held in value.values():
            yield from iter_strings(held, deepest - 1)
    elif value is not None and not isinstance(value, (bool, int, float)):
        names = " with names that are no strings" if isinstance(value, dict) else ""
        what = type(value).__name__ + names
        raise PromptError(
            f"A tool, a call, a schema or a template's argument holds a {what}, which JSON cannot "
            "say. Make it of dicts with string names, lists, strings, numbers, booleans and None."
        )
