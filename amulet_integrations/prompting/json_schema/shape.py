"""Whether a JSON schema is built as schemas are, so that all who read it may rely on that."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from amulet_integrations.errors import UnsupportedGrammarError

MAPS = ("properties", "patternProperties", "$defs", "definitions")
LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
SINGLE = ("items", "additionalProperties", "additionalItems")

_TEXTS = ("$ref", "$id", "format", "pattern")
_NAMES = ("required", "type")

# Characters that JSON writes as \u escapes only, which the grammars leave out, and DEL, which
# llguidance passes over; half characters are no text at all.
_UNWRITABLE = re.compile("[\x00-\x07\x0b\x0e-\x1f\x7f\ud800-\udfff]")


def check_shape(schema: Any, pointer: str = "#") -> None:
    """Refuses what is no schema, or names and values that could not be written as they are.

    Args:
        schema: A JSON schema, and all that it consists of.
        pointer: Where it stands.

    Raises:
        UnsupportedGrammarError: The message says where.
    """
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        _refuse(pointer, schema, "a schema, which is a dict or a bool")
    for keyword, value in schema.items():
        if not isinstance(keyword, str):
            _refuse(pointer, keyword, "a keyword, which is a string")
        _check_value(keyword, value, at(pointer, keyword))
    if isinstance(least := schema.get("minProperties", 0), bool) or not isinstance(least, int):
        _refuse(at(pointer, "minProperties"), least, "a whole number")


def at(pointer: str, name: str) -> str:
    """The JSON pointer of what has a name in what is at `pointer`."""
    return f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"


def _check_value(keyword: str, value: Any, pointer: str) -> None:
    if keyword in MAPS:
        _check_map(value, pointer, written=keyword == "properties")
    elif keyword in LISTS:
        _check_list(value, pointer)
    elif keyword in SINGLE:
        many = keyword == "items" and isinstance(value, list | tuple)
        (_check_list if many else check_shape)(value, pointer)
    elif keyword in _TEXTS and not isinstance(value, str):
        _refuse(pointer, value, "a string")
    elif keyword in _NAMES and not _is_names(value, one_will_do=keyword == "type"):
        _refuse(pointer, value, "a list of strings")
    elif keyword == "enum" and not isinstance(value, list | tuple):
        _refuse(pointer, value, "a list")
    else:
        _check_json(value, pointer, written=keyword in {"const", "enum", "required"})


def _check_map(value: Any, pointer: str, *, written: bool) -> None:
    if not isinstance(value, dict):
        _refuse(pointer, value, "a dict of schemas")
    for name, inner in value.items():
        _check_json(name, pointer, written=written)
        if not isinstance(name, str):
            _refuse(pointer, name, "a name, which is a string")
        check_shape(inner, at(pointer, name))


def _check_list(value: Any, pointer: str) -> None:
    if not isinstance(value, list | tuple):
        _refuse(pointer, value, "a list of schemas")
    for index, inner in enumerate(value):
        check_shape(inner, at(pointer, str(index)))


def _check_json(value: Any, pointer: str, *, written: bool) -> None:
    """Refuses what is no JSON; of what the model is to write, also what it cannot."""
    if isinstance(value, float) and not math.isfinite(value):
        _refuse(pointer, value, "JSON, which has finite numbers only")
    if not isinstance(value, str | int | float | list | tuple | dict | None):
        _refuse(pointer, value, "JSON")
    if written and isinstance(value, str) and (found := _UNWRITABLE.search(value)):
        raise UnsupportedGrammarError(
            f"The schema has a text with the character {found.group()!a} at {pointer}, which "
            "cannot be written while decoding. Leave the character out."
        )
    for place, inner in _parts(value, pointer):
        _check_json(inner, place, written=written)


def _parts(value: Any, pointer: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, list | tuple):
        yield from ((at(pointer, str(index)), inner) for index, inner in enumerate(value))
    elif isinstance(value, dict):
        for name, inner in value.items():
            if not isinstance(name, str):
                _refuse(pointer, name, "a name, which is a string")
            yield pointer, name
            yield at(pointer, name), inner


def _is_names(value: Any, *, one_will_do: bool) -> bool:
    if isinstance(value, str):
        return one_will_do
    return isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)


def _refuse(pointer: str, value: Any, wanted: str) -> NoReturn:
    raise UnsupportedGrammarError(
        f"The schema is no JSON schema: at {pointer} it has {ascii(value)[:80]}, which is not "
        f"{wanted}. Correct it."
    )
