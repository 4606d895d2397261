"""Keeps texts of strangers away from the chat template, which reads the words of its input.

A template is a program. Some test for words in the system text or in the tools (`/no_think`), and
write another prompt where they find them. So every line of a text that a stranger may have written
is rendered as a placeholder, and put in afterwards, spelled as the template spelled the
placeholder: as JSON, for example. White space, the ends of lines and the marks that end a sentence
there are rendered as they are, because templates trim and indent texts, and add full stops.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import count
from string import digits
from typing import NamedTuple

from amulet_integrations.errors import PromptError

from .escaping import PRIVATE_USE, PromptText
from .spellings import SPELLINGS, Spelling, slashes_before, spelled

# From the first character of a line that is no white space to the last one, and what ends it.
_LINE = re.compile(
    r"(\S(?:[^\n\r\v\f\x1c-\x1e\x85\u2028\u2029]*[^\s.!?。！？])?)([.!?。！？]*)"  # noqa: RUF001
)
_LETTERS = "bcdfghjklmnpqrstvwxyz"
_QUOTE = re.compile(r"\\.|'", re.DOTALL)
_CHANGED = (
    "The model's chat template changes or cuts the text of the preference, or of a description in "
    "a tool or schema, so it cannot be written as it is. Pass a chat_template that writes texts "
    "unchanged."
)


class _Placed(NamedTuple):
    """A text, where it belongs in the prompt and how it is spelled there."""

    start: int
    end: int
    text: str
    spelling: Spelling


class Placeholders:
    """The placeholders of one prompt.

    Args:
        opening: A character that occurs nowhere else in the prompt; it begins a placeholder.
        closing: Another one, which ends a placeholder.
        word: A word that occurs nowhere else, which shows changes of the case and other spellings.
        escape: Escapes what is rendered as it is.
    """

    def __init__(self, opening: str, closing: str, word: str, escape: Callable[[str], str]) -> None:
        self._escape = escape
        self._opening = opening
        self._closing = closing
        self._word = word
        self._numbers: dict[str, int] = {}
        ends = spelled(opening), spelled(closing)
        # A quotation mark shows how often the placeholder was written as JSON.
        self._pattern = re.compile(rf'({ends[0]}){word}(p?)(\d+)(\\*)"({ends[1]})')
        self._remains = re.compile(f"{spelled(opening + closing)}|{word}", re.IGNORECASE)

    def hide(self, text: str) -> str:
        """A text with a placeholder for each line."""
        return _LINE.sub(lambda line: self.hide_whole(line[1]) + self._escape(line[2]), text)

    def hide_whole(self, text: str) -> str:
        """The placeholder of a whole text."""
        return self._placeholder(str(self._number_of(text)))

    def hide_preference(self, preference: str) -> str:
        """A preference with a placeholder for each line, the same for all preferences."""
        numbers = count()
        return _LINE.sub(
            lambda line: self._placeholder(f"p{next(numbers)}") + self._escape(line[2]), preference
        )

    def without_words(self, text: str) -> str:
        """A text of the same shape without its words: every letter of a line is the same one."""
        return _LINE.sub(lambda line: _shape(line[1], self._number_of(line[1])) + line[2], text)

    def fill(
        self, rendered: PromptText, preference: str | None = None, *, words: bool = True
    ) -> PromptText:
        """Puts the texts in; all of their characters count as escaped.

        Args:
            rendered: The prompt as the template wrote it.
            preference: The text to put in place of the preference's placeholders; None for none.
            words: Whether the texts themselves are put in, or those that `without_words` gives.

        Raises:
            PromptError: The template changed a placeholder or cut it.
        """
        texts, lines = list(self._numbers), _lines_of(preference or "")
        if not words:
            lines = [_shape(line, self._number_of(line)) for line in lines]
            texts = [_shape(text, number) for text, number in self._numbers.items()]
        placed = self._find(rendered.text, texts, None if preference is None else lines)
        parts, end = list[PromptText](), 0
        for start, stop, inside in _in_literals(rendered.text, placed):
            parts.append(self._checked(rendered.part(end, start)))
            if inside[0].spelling.in_repr:
                parts += map(self._filled_or_checked, _literal(rendered, start, stop, inside))
            else:
                parts.append(_inserted(inside[0].spelling.encode(inside[0].text)))
            end = stop
        parts.append(self._checked(rendered.part(end, len(rendered.text))))
        return PromptText("".join(it.text for it in parts), b"".join(it.escaped for it in parts))

    def without_preference(self, rendered: str, hidden: str) -> str:
        """A rendered prompt in which one placeholder stands for the whole hidden preference.

        Raises:
            PromptError: The template left a part of the preference out.
        """
        lines = len(_lines_of(hidden))
        found = Counter(match[3] for match in self._pattern.finditer(rendered) if match[2])
        if found and (len(found) < lines or len({*found.values()}) > 1):
            raise PromptError(_CHANGED)
        first = self._placeholder("p0")
        for spelling in SPELLINGS:
            for around in (hidden, hidden.strip()):
                rendered = rendered.replace(spelling.encode(around), spelling.encode(first))
        return rendered

    def has_preference(self, rendered: str) -> bool:
        """Whether a rendered prompt holds a placeholder of a preference."""
        return any(match[2] for match in self._pattern.finditer(rendered))

    def _number_of(self, text: str) -> int:
        return self._numbers.setdefault(text, len(self._numbers))

    def _placeholder(self, number: str) -> str:
        return f'{self._opening}{self._word}{number}"{self._closing}'

    def _find(
        self, text: str, hidden: Sequence[str], preference: Sequence[str] | None
    ) -> Iterator[_Placed]:
        """The texts of all placeholders in a prompt."""
        spellings = _spellings(self._opening, self._closing)
        for match in self._pattern.finditer(text):
            opening, of_preference, number, slashes, closing = match.groups()
            before = slashes_before(opening)
            spelling = spellings.get((opening[before:], slashes, closing))
            if spelling is None:
                raise PromptError(_CHANGED)
            if not of_preference:
                filled = hidden[int(number)]
            else:
                filled = preference[int(number)] if preference is not None else ""
            yield _Placed(match.start() + before, match.end(), filled, spelling)

    def _filled_or_checked(self, part: PromptText | str) -> PromptText:
        return _inserted(part) if isinstance(part, str) else self._checked(part)

    def _checked(self, part: PromptText) -> PromptText:
        """A part of the prompt that holds no placeholder, nor what is left of one."""
        if self._remains.search(part.text):
            raise PromptError(_CHANGED)
        return part


@lru_cache(maxsize=64)
def _spellings(opening: str, closing: str) -> dict[tuple[str, str, str], Spelling]:
    """Each spelling by how it writes the ends of a placeholder and the backslashes in it."""
    return {
        (it.encode(opening), it.encode('"')[:-1], it.encode(closing)): it
        for it in reversed(SPELLINGS)
    }


def _lines_of(text: str) -> list[str]:
    return [line[1] for line in _LINE.finditer(text)]


def _shape(text: str, number: int) -> str:
    """A text with one letter, the one of its number, for all letters, and 0 for all digits."""
    letter = _LETTERS[number % len(_LETTERS)]
    # Characters for private use may stand for escaped ones.
    return "".join(
        _plain(it, letter) if it.isalnum() or ord(it) in PRIVATE_USE else it for it in text
    )


def _plain(character: str, letter: str) -> str:
    if character in digits:
        return "0"
    letter = letter if character.isascii() else "é"  # which JSON may escape
    return letter.upper() if character.isupper() else letter


def _inserted(text: str) -> PromptText:
    return PromptText(text, b"\1" * len(text))


def _in_literals(text: str, placed: Iterator[_Placed]) -> Iterator[tuple[int, int, list[_Placed]]]:
    """The placed texts, those of one string as Python writes it together, with the place of it.

    Raises:
        PromptError: A text is spelled as in such a string, and there are no quotes around it.
    """
    last: tuple[int, int, list[_Placed]] | None = None
    for it in placed:
        if last is not None and it.start < last[1]:
            last[2].append(it)
            continue
        if last is not None:
            yield last
        last = (
            (*_quotes_around(text, it), [it]) if it.spelling.in_repr else (it.start, it.end, [it])
        )
    if last is not None:
        yield last


def _quotes_around(text: str, placed: _Placed) -> tuple[int, int]:
    """Where the string begins and ends; its quotes are `'`, because a placeholder holds `"`."""
    start = text.rfind("'", 0, placed.start)
    while start > 0 and text[start - 1] == "\\":  # inside, backslashes before quotes are odd
        start = text.rfind("'", 0, start)
    closing = next((it for it in _QUOTE.finditer(text, placed.end) if it[0] == "'"), None)
    if start < 0 or closing is None:
        raise PromptError(_CHANGED)
    return start, closing.end()


def _literal(
    rendered: PromptText, start: int, stop: int, inside: Sequence[_Placed]
) -> Iterator[PromptText | str]:
    """The parts of a string as Python writes it, with the quotes that it picks.

    The texts that were put in are `str`.

    Raises:
        PromptError: A text in it is spelled in another way.
    """
    ends = [start + 1, *(it.end for it in inside)]
    starts = [*(it.start for it in inside), stop - 1]
    rest = [rendered.part(*place) for place in zip(ends, starts, strict=True)]
    if not all(it.spelling.in_repr for it in inside):
        raise PromptError(_CHANGED)
    everything = "".join(
        [*(it.text for it in rest), *(it.spelling.as_json(it.text) for it in inside)]
    )
    quote = '"' if "'" in everything and '"' not in everything else "'"
    if quote == '"':
        rest = [_without_escaped_quotes(it) for it in rest]
    yield PromptText(quote, b"\0")
    for part, it in zip(rest, inside, strict=False):
        yield part
        yield it.spelling.encode(it.text, quote)
    yield rest[-1]
    yield PromptText(quote, b"\0")


def _without_escaped_quotes(part: PromptText) -> PromptText:
    kept = bytearray(b"\1" * len(part.text))
    for match in _QUOTE.finditer(part.text):
        if match[0] == r"\'":
            kept[match.start()] = 0
    return PromptText(
        "".join(it for it, keep in zip(part.text, kept, strict=True) if keep),
        bytes(it for it, keep in zip(part.escaped, kept, strict=True) if keep),
    )
