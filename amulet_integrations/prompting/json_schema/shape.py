"""Checks that a JSON schema is built as schemas are, and walks through the schemas in it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from amulet_integrations.errors import UnsupportedGrammarError

# Keywords whose values are dicts of schemas, lists of schemas, or one schema.
DEFINITIONS = ("$defs", "definitions")
MAPS = ("properties", "patternProperties", *DEFINITIONS, "dependentSchemas")
LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
SINGLE = (
    *("items", "additionalProperties", "additionalItems", "contains", "propertyNames"),
    *("not", "if", "then", "else", "unevaluatedProperties", "unevaluatedItems"),
)

_SEQUENCE = (list, tuple)
_NAMES = ("required", "type")
_COUNTS = ("minProperties", "maxProperties", "minContains", "maxContains")
# The Python types of keywords' values, and what the values are.
_KINDS: dict[str, tuple[Any, str]] = {
    **dict.fromkeys(MAPS, (dict, "a dict of schemas")),
    **dict.fromkeys(LISTS, (_SEQUENCE, "a list of schemas")),
    **dict.fromkeys(("$ref", "$id", "format", "pattern"), (str, "a string")),
    "required": (_SEQUENCE, "a list of strings"),
    "type": ((str, *_SEQUENCE), "a list of strings"),
    "enum": (_SEQUENCE, "a list"),
    **dict.fromkeys(_COUNTS, (int, "a whole number")),
    **dict.fromkeys(("dependentRequired", "dependencies"), (dict, "a dict of lists of names")),
}
_WRITTEN = ("const", "enum", "required")  # values that the model writes

# Characters that JSON writes only as \u escapes, which the grammars leave out; DEL, which
# llguidance never writes; and halves of surrogate pairs.
_UNWRITABLE = re.compile("[\x00-\x07\x0b\x0e-\x1f\x7f\ud800-\udfff]")


def check_shape(schema: Any, pointer: str = "#") -> None:
    """Refuses what is not a schema, and names and values that a model cannot write.

    Args:
        schema: A JSON schema.
        pointer: The JSON pointer to it.

    Raises:
        UnsupportedGrammarError: The message has the JSON pointer to the fault.
    """
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        refuse(pointer, schema, "a schema, which is a dict or a bool")
    for keyword, value in schema.items():
        if not isinstance(keyword, str):
            refuse(pointer, keyword, "a keyword, which is a string")
        _check_value(keyword, value, at(pointer, keyword))
    map_subschemas(schema, lambda inner, _keyword, place: check_shape(inner, place), pointer)


def at(pointer: str, name: str) -> str:
    """The JSON pointer to the value that has a name in the object at `pointer`."""
    return f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"


def map_subschemas(
    schema: dict[str, Any], rewrite: Callable[[Any, str, str], Any], pointer: str = "#"
) -> dict[str, Any]:
    """A schema with each schema directly in it rewritten.

    Args:
        schema: A schema of the right shape.
        rewrite: Takes a schema, the keyword that it belongs to, and the JSON pointer to it.
        pointer: The JSON pointer to `schema`.
    """
    mapped: dict[str, Any] = {}
    for keyword, value in schema.items():
        place = at(pointer, keyword)
        if keyword in MAPS and isinstance(value, dict):
            mapped[keyword] = {
                name: rewrite(inner, keyword, at(place, name)) for name, inner in value.items()
            }
        elif keyword in (*LISTS, "items") and isinstance(value, list | tuple):
            mapped[keyword] = [
                rewrite(inner, keyword, f"{place}/{index}") for index, inner in enumerate(value)
            ]
        else:
            mapped[keyword] = rewrite(value, keyword, place) if keyword in SINGLE else value
    return mapped


def listed_values(schema: Any) -> list[Any] | None:
    """The values that a schema lists; None if it lists none."""
    if not isinstance(schema, dict):
        return None
    if "const" in schema:
        return [schema["const"]]
    if schema.get("type") == "boolean":
        return [True, False]
    enum = schema.get("enum")
    return list(enum) if isinstance(enum, list | tuple) else None


def iter_objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every dict in a JSON value, the outer ones first."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list | tuple):
        for inner in value:
            yield from iter_objects(inner)


def _check_value(keyword: str, value: Any, pointer: str) -> None:
    """Checks all of a value but the schemas in it."""
    kind, wanted = _KINDS.get(keyword, (object, ""))
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        refuse(pointer, value, wanted)
    if keyword in _NAMES and not all(isinstance(name, str) for name in value):
        refuse(pointer, value, wanted)
    if keyword in MAPS:
        _check_json(dict.fromkeys(value), pointer, written=keyword == "properties")
    elif keyword not in (*LISTS, *SINGLE):
        _check_json(value, pointer, written=keyword in _WRITTEN)


def _check_json(value: Any, pointer: str, *, written: bool) -> None:
    """Refuses what is not JSON, and what the model cannot write if it is `written` by it."""
    if isinstance(value, float) and not math.isfinite(value):
        refuse(pointer, value, "JSON, which has finite numbers only")
    if not isinstance(value, str | int | float | list | tuple | dict | None):
        refuse(pointer, value, "JSON")
    if written and isinstance(value, str) and (found := _UNWRITABLE.search(value)):
        raise UnsupportedGrammarError(
            f"The schema has a text with the character {found.group()!a} at {pointer}, which "
            "cannot be written while decoding. Leave the character out."
        )
    if isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            _check_json(inner, at(pointer, str(index)), written=written)
    elif isinstance(value, dict):
        for name, inner in value.items():
            if not isinstance(name, str):
                refuse(pointer, name, "a name, which is a string")
            _check_json(name, pointer, written=written)
            _check_json(inner, at(pointer, name), written=written)


def refuse(pointer: str, value: Any, wanted: str) -> NoReturn:
    """Refuses a value that is not what is wanted at its place.

    Raises:
        UnsupportedGrammarError: Always.
    """
    raise UnsupportedGrammarError(
        f"The schema is no JSON schema: at {pointer} it has {ascii(value)[:80]}, which is not "
        f"{wanted}. Correct it."
    )
