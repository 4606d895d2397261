"""Finds the name of a tool or property that makes the chat template write another prompt.

Names cannot be hidden, because templates look parts of a schema up by name. So the conversation is
rendered again with other names. A template may sort, pad, capitalise or escape names, so the others
are made in two ways, and it is enough that one of them changes nothing but the names:

- every letter becomes the next one of the alphabet, so length and case stay;
- a placeholder stands for the name, behind a prefix that keeps its place among the other keys.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Collection, Mapping, Sequence
from string import ascii_lowercase, ascii_uppercase, digits

from .escaping import PromptText
from .spellings import spelled

_LETTERS = str.maketrans(
    ascii_lowercase[:-1] + ascii_uppercase[:-1], ascii_lowercase[1:] + ascii_uppercase[1:]
)
_DIGITS = str.maketrans(digits[:-1], digits[1:])
_SIMPLE = re.compile(r"[\w$ .-]*", re.ASCII)
_MAX_VERDICTS = 256

Names = Mapping[str, str]
"""What is rendered in place of each name."""


class NameVerdicts:
    """What was found about the names of earlier prompts of one template; bounded."""

    def __init__(self) -> None:
        self._found: dict[bytes, str | None] = {}

    def get(self, key: bytes, find: Callable[[], str | None]) -> str | None:
        """The name that the template treats in a way of its own; None if there is none.

        Args:
            key: Stands for the names and their places.
            find: Finds the name.
        """
        if key not in self._found:
            found = find()
            if len(self._found) >= _MAX_VERDICTS:
                self._found.clear()
            self._found[key] = found
            return found
        return self._found[key]


def find_special_name(names: Sequence[str], is_special: Callable[[list[str]], bool]) -> str | None:
    """A name that a template treats in a way of its own; None if there is none.

    Args:
        names: The names.
        is_special: Whether the template treats any of some names in such a way.
    """
    names = list(names)
    if not names or not is_special(names):
        return None
    while len(names) > 1:
        half = names[: len(names) // 2]
        names = half if is_special(half) else names[len(half) :]
    return names[0] if is_special(names) else None


def shifted(names: Collection[str], others: Collection[str]) -> Names | None:
    """The names with the next letters; None if that does not give other, different names."""
    changed = {name: _shift(name) for name in names}
    different = {*changed.values(), *others}
    if len(different) < len(names) + len(others) or any(
        name == other or not name.isascii() for name, other in changed.items()
    ):
        return None
    return changed


def differs_by_shifts(base: str, other: str) -> bool:
    """Whether two renderings are the same but for letters that were shifted."""
    moved = base.translate(_LETTERS | _DIGITS)
    return len(base) == len(other) and all(
        new in (old, shift) for old, new, shift in zip(base, other, moved, strict=True)
    )


def _shift(name: str) -> str:
    has_letters = any(it.isalpha() for it in name)
    return name.translate(_LETTERS if has_letters else _DIGITS)


class SortedNames:
    """Names with a prefix and a placeholder, which sort as the names do.

    Args:
        names: The names.
        others: The other keys that they may be sorted among.
        key: What they are sorted by.
        hide: Gives the placeholder of a name.
    """

    def __init__(
        self,
        names: Collection[str],
        others: Collection[str],
        key: Callable[[str], str],
        hide: Callable[[str], str],
    ) -> None:
        fixed = sorted(filter(_SIMPLE.fullmatch, others), key=key)
        keys = [key(it) for it in fixed]
        ordered = sorted(names, key=key)
        places = [bisect_right(keys, key(name)) for name in ordered]
        self._fronts = [fixed[place - 1] if place else "" for place in places]
        self.written: Names = {
            name: f"{front}!{number:05}{hide(name)}"
            for number, (name, front) in enumerate(zip(ordered, self._fronts, strict=True))
        }

    def without_prefixes(self, rendered: str, opening: str) -> PromptText:
        """A rendering without the prefixes; `opening` begins a placeholder."""
        parts, end = list[str](), 0
        for match in re.finditer(rf"!(\d{{5}})(?={spelled(opening)})", rendered):
            front = self._fronts[int(match[1])]
            parts.append(rendered[end : match.start()].removesuffix(front))
            end = match.end()
        text = "".join((*parts, rendered[end:]))
        return PromptText(text, bytes(len(text)))
