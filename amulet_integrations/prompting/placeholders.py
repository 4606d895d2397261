"""Keeps texts of strangers away from the chat template, which reads the words of its input.

A template is a program. Some test for words in the system text or in the tools (`/no_think`), and
write another prompt where they find them. So every line of a text that a stranger may have written
is rendered as a placeholder, and put in afterwards, spelled as the template spelled the
placeholder: as JSON, for example. White space and the ends of lines are rendered as they are,
because templates trim and indent texts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from amulet_integrations.errors import PromptError

from .escaping import PromptText
from .spellings import SPELLINGS, Spelling, slashes_before, spelled

# From the first character of a line that is no white space to the last one.
_LINE = re.compile(r"\S(?:[^\n\r\v\f\x1c-\x1e\x85\u2028\u2029]*\S)?")
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
    """

    def __init__(self, opening: str, closing: str, word: str) -> None:
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
        return _LINE.sub(lambda line: self.hide_whole(line[0]), text)

    def hide_whole(self, text: str) -> str:
        """The placeholder of a whole text."""
        return self._placeholder(str(self._numbers.setdefault(text, len(self._numbers))))

    def hide_preference(self, preference: str) -> str:
        """A preference with a placeholder for each line, the same for all preferences."""
        parts = _LINE.split(preference)
        return parts[0] + "".join(
            self._placeholder(f"p{number}") + part for number, part in enumerate(parts[1:])
        )

    def fill(self, rendered: PromptText, preference: str | None = None) -> PromptText:
        """Puts the texts in; all of their characters count as escaped.

        Args:
            rendered: The prompt as the template wrote it.
            preference: The text to put in place of the preference's placeholders; None for none.

        Raises:
            PromptError: The template changed a placeholder or cut it.
        """
        lines = None if preference is None else _LINE.findall(preference)
        placed = self._find(rendered.text, lines)
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
        count = len(_LINE.findall(hidden))
        found = Counter(match[3] for match in self._pattern.finditer(rendered) if match[2])
        if found and (len(found) < count or len({*found.values()}) > 1):
            raise PromptError(_CHANGED)
        first = self._placeholder("p0")
        for spelling in SPELLINGS:
            for around in (hidden, hidden.strip()):
                rendered = rendered.replace(spelling.encode(around), spelling.encode(first))
        return rendered

    def has_preference(self, rendered: str) -> bool:
        """Whether a rendered prompt holds a placeholder of a preference."""
        return any(match[2] for match in self._pattern.finditer(rendered))

    def _placeholder(self, number: str) -> str:
        return f'{self._opening}{self._word}{number}"{self._closing}'

    def _find(self, text: str, preference: Sequence[str] | None) -> Iterator[_Placed]:
        """The texts of all placeholders in a prompt."""
        hidden = list(self._numbers)
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
