"""Names of free properties, as a pattern, for releases of llguidance that let escapes through.

Beside listed properties, llguidance before 1.8 lets a free name be written with escapes. So a
listed name could come twice, under two spellings. It keeps to a pattern that has no escapes.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from typing import Any

import regex

from .shape import map_subschemas

_ANY = r"[\s\S]"


@cache
def lets_escapes_through() -> bool:
    """Whether the installed llguidance is one of those releases."""
    major, minor = version("llguidance").split(".")[:2]
    return (int(major), int(minor)) < (1, 8)


def with_free_names_as_pattern(schema: dict[str, Any]) -> dict[str, Any]:
    """The same schema, whose free properties beside listed ones are those of a pattern."""

    def rewrite(inner: Any, _keyword: str, _place: str) -> Any:
        return with_free_names_as_pattern(inner) if isinstance(inner, dict) else inner

    written: dict[str, Any] = map_subschemas(schema, rewrite, "#")
    listed = written.get("properties")
    free = written.get("additionalProperties", False)  # without it: a part of another object
    if not listed or free is False or "patternProperties" in written:
        return written
    pattern = f"^{_other_than(listed)}$"
    return {**written, "patternProperties": {pattern: free}, "additionalProperties": False}


def _other_than(names: Iterable[str]) -> str:
    """A regular expression of all texts but these, without look-around."""
    names = set(names)
    ends = {name[0]: {it[1:] for it in names if it[:1] == name[0]} for name in names if name}
    first = "".join(regex.escape(letter) for letter in sorted(ends))
    parts = [f"[^{first}]{_ANY}*" if first else f"{_ANY}+"]
    parts += [regex.escape(letter) + _other_than(rest) for letter, rest in sorted(ends.items())]
    if "" not in names:
        parts.append("")
    return f"(?:{'|'.join(parts)})"
