"""Rewrites schemas for llguidance before 1.8, which has two faults.

No negative number is a multiple of anything for it. And beside listed names, it lets a free name be
written with escapes, so that a listed property could come twice, under two spellings.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from functools import cache
from importlib.metadata import version
from typing import Any

import regex

from amulet_integrations.prompting.json_schema.rewriting.bounds import FINEST, is_number

from .object_parts import IN_PLACE
from .shape import map_subschemas
from .unenforced import Unenforced

_ANY = r"[\s\S]"
# Names that a pattern can leave out: each character is a group in a group, and llguidance lets
# classes of characters that leave out quotes and backslashes match them all the same.
_PLAIN_NAME = regex.compile(r"""[^"\\]{0,100}""")
_NUMBERS = {"number", "integer"}


@cache
def is_older_llguidance() -> bool:
    """Whether the installed llguidance is one of those releases."""
    major, minor = version("llguidance").split(".")[:2]
    return (int(major), int(minor)) < (1, 8)


def rewrite_for_older(
    schema: dict[str, Any], pointer: str = "#", *, is_closed: bool = False
) -> tuple[dict[str, Any], tuple[Unenforced, ...]]:
    """Rewrites a schema that newer releases would enforce as it is.

    Negative numbers lose the limit to ten decimals.

    Args:
        schema: The schema.
        pointer: The JSON pointer to it.
        is_closed: Whether another schema of the same object forbids free names.

    Returns:
        The new schema, and what it does not enforce.
    """
    unenforced: list[Unenforced] = []
    is_closed = is_closed or schema.get("additionalProperties") is False

    def rewrite(inner: Any, keyword: str, place: str) -> Any:
        if not isinstance(inner, dict):
            return inner
        closed = is_closed and keyword in IN_PLACE
        rewritten, left = rewrite_for_older(inner, place, is_closed=closed)
        unenforced.extend(left)
        return rewritten

    written = map_subschemas(schema, rewrite, pointer)
    if not _split_at_zero(written):
        unenforced.append(Unenforced("multipleOf", pointer))
    if not is_closed and not _write_free_names_as_pattern(written):
        unenforced.append(Unenforced("additionalProperties", pointer))
    return written, tuple(unenforced)


def _split_at_zero(schema: dict[str, Any]) -> bool:
    """Makes the numbers below zero an alternative; returns whether that is as strict as before."""
    given, step = schema.get("type", ()), schema.get("multipleOf", 0)
    types = {given} if isinstance(given, str) else set(given)
    bounds = (schema.get(key, -1) for key in ("minimum", "exclusiveMinimum"))
    is_positive = any(is_number(bound) and bound >= 0 for bound in bounds)
    if not is_number(step) or step <= 0 or is_positive or (types and not types & _NUMBERS):
        return True
    del schema["multipleOf"]
    at_least_zero = {"minimum": 0, "multipleOf": step, **({"type": given} if types else {})}
    whole = (types and "number" not in types) or Fraction(str(step)) % 1 == 0
    below_zero = {"type": "integer" if whole else "number", "exclusiveMaximum": 0}
    schema["allOf"] = [*schema.get("allOf", ()), {"anyOf": [at_least_zero, below_zero]}]
    return step == FINEST or (whole and 1 % Fraction(str(step)) == 0)


def _write_free_names_as_pattern(schema: dict[str, Any]) -> bool:
    """Makes the free names those of a pattern, which has no escapes; returns whether it could."""
    listed = schema.get("properties", {})
    patterns = schema.get("patternProperties", {})
    if not (listed or patterns):
        return True
    is_part = "additionalProperties" not in schema  # of an object that other schemas describe too
    if patterns or is_part or not all(map(_PLAIN_NAME.fullmatch, listed)):
        return False
    free = schema["additionalProperties"]
    schema["patternProperties"] = {f"^{_other_than(listed)}$": free}
    schema["additionalProperties"] = False
    return True


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
