"""Keeps texts of strangers away from the chat template, which reads the words of its input.

A template is a program. Some test for words in the system text or in the tools (`/no_think`), and
write another prompt where they find them. So a text that a stranger may have written is rendered
as a placeholder, and put in afterwards, escaped as JSON wherever the template wrote JSON. White
space at its ends is rendered as it is, because templates trim it.

Names cannot be hidden, because templates look parts of a schema up by name. They are rendered a
second time with a mark between all characters; a template that finds a word in a name then writes
something else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from amulet_integrations.errors import PromptError

from .escaping import PromptText

_LETTERS = "aB"  # show whether the template changes the case
_DEEPEST = 3  # JSON within JSON within JSON


@dataclass(frozen=True)
class HiddenText:
    """A text that is about to be rendered as a placeholder.

    Attributes:
        before: The white space in front of it, which is rendered as it is.
        text: The text without white space at its ends.
        after: The white space behind it.
    """

    before: str
    text: str
    after: str

    @classmethod
    def of(cls, text: str) -> HiddenText:
        """Splits a text from the white space at its ends."""
        behind = text.lstrip()
        inner = behind.rstrip()
        return cls(text[: len(text) - len(behind)], inner, behind[len(inner) :])

    def around(self, placeholder: str) -> str:
        """What is rendered: the placeholder between the white space."""
        return self.before + placeholder + self.after


class Placeholders:
    """The placeholders of one prompt.

    Args:
        opening: A character that occurs nowhere else in the prompt; it begins a placeholder.
        closing: Another one, which ends a placeholder.

    Attributes:
        preference: The placeholder of the preference.
    """

    def __init__(self, opening: str, closing: str) -> None:
        self._opening = opening
        self._closing = closing
        self._numbers: dict[str, int] = {}
        self.preference: str = self._placeholder("")
        # A quotation mark shows how often the placeholder was written as JSON.
        self._pattern = re.compile(rf'{opening}{_LETTERS}(\d*)(\\*)"{closing}')

    def hide(self, text: str) -> str:
        """The placeholder of a text, between the white space of its ends; "" for no text."""
        hidden = HiddenText.of(text)
        if not hidden.text:
            return text
        number = self._numbers.setdefault(hidden.text, len(self._numbers))
        return hidden.around(self._placeholder(str(number)))

    def fill(self, rendered: PromptText, preference: str = "") -> PromptText:
        """Puts the texts in; all of their characters count as escaped.

        Args:
            rendered: The prompt as the template wrote it.
            preference: The text to put in place of the preference's placeholder.

        Raises:
            PromptError: The template changed a placeholder or cut it.
        """
        hidden, text = list(self._numbers), rendered.text
        texts, marks = list[str](), list[bytes]()
        end = 0
        for match in self._pattern.finditer(text):
            filled = hidden[int(match[1])] if match[1] else preference
            filled = _as_json(filled, _depth(match))
            texts += (text[end : match.start()], filled)
            marks += (rendered.escaped[end : match.start()], b"\1" * len(filled))
            end = match.end()
        rest = text[end:]
        if any(self._opening in part or self._closing in part for part in (*texts[::2], rest)):
            raise PromptError(
                "The model's chat template changes or cuts the text of the preference, or of a "
                "description in a tool or schema, so it cannot be written as it is. Pass a "
                "chat_template that writes texts unchanged."
            )
        return PromptText("".join((*texts, rest)), b"".join((*marks, rendered.escaped[end:])))

    def without_preference(self, rendered: str, hidden: HiddenText) -> str:
        """A rendered prompt without the preference's placeholders and the white space of it."""
        for depth in range(_DEEPEST + 1):
            placeholder = _as_json(self.preference, depth)
            around = _as_json(hidden.around(self.preference), depth)
            rendered = rendered.replace(around, "").replace(placeholder, "")
        return rendered

    def _placeholder(self, number: str) -> str:
        return f'{self._opening}{_LETTERS}{number}"{self._closing}'


def _as_json(text: str, depth: int) -> str:
    """A text as it stands in JSON that is a string in JSON, and so on; itself for `depth` 0."""
    for _ in range(depth):
        text = json.dumps(text, ensure_ascii=False)[1:-1]
    return text


def _depth(match: re.Match[str]) -> int:
    """How often a placeholder was written as JSON: 0, 1 or 3 backslashes, and so on."""
    return len(match[2]).bit_length()


def find_special_name(names: list[str], is_special: Callable[[list[str]], bool]) -> str | None:
    """A name that a template treats in a way of its own; None if there is none.

    Args:
        names: The names.
        is_special: Whether the template treats any of some names in such a way.
    """
    if not names or not is_special(names):
        return None
    while len(names) > 1:
        half = names[: len(names) // 2]
        names = half if is_special(half) else names[len(half) :]
    return names[0]
