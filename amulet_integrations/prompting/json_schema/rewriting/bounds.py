"""Bounds the numbers that a schema leaves free, at any depth.

Without bounds, llguidance allows integers of hundreds of digits, exponents of any length and
decimals without end. Readers cannot represent those. Between bounds, it writes digits and no
exponents.
"""

from __future__ import annotations

import math
from typing import Any

from amulet_integrations.prompting.json_schema.shape import iter_objects

# About the largest integer of 64 bits, which is the largest that llguidance can represent.
_LARGEST = 9 * 10**18
_NARROW = 1e-6
_EXACT = 2**53  # up to here, the next number is no more than one away

FINEST = 1e-10
"""The finest multiple that llguidance knows: numbers have ten decimals."""

ANY_JSON_NAME = "amulet.any-json"
_ANY_JSON_POINTER = f"#/$defs/{ANY_JSON_NAME}"


ANNOTATIONS = frozenset(
    {"title", "description", "default", "examples", "example", "deprecated", "readOnly"}
    | {"writeOnly", "$comment", "$defs", "definitions", "$schema", "$id", "x-guidance"}
)
"""Keywords that do not restrict a value."""
_COMBINED = frozenset({"$ref", "allOf", "anyOf", "oneOf"})


def any_json() -> dict[str, Any]:
    """The schema of any JSON value with finite numbers; it stands in $defs by `ANY_JSON_NAME`."""
    return {
        "anyOf": [
            {"type": ["null", "boolean", "string"]},
            {
                "type": "number",
                "minimum": -_LARGEST,
                "maximum": _LARGEST,
                "multipleOf": FINEST,
            },
            {"type": "array", "items": any_json_reference()},
            {"type": "object", "additionalProperties": any_json_reference()},
        ]
    }


def any_json_reference() -> dict[str, Any]:
    """A reference to `any_json`."""
    return {"$ref": _ANY_JSON_POINTER}


def uses_any_json(schema: Any) -> bool:
    """Whether a schema contains a reference to `any_json`."""
    return any(inner.get("$ref") == _ANY_JSON_POINTER for inner in iter_objects(schema))


def bound_numbers(schema: dict[str, Any], *, has_step: bool = False) -> None:
    """Sets bounds if the schema has none, or wider ones than llguidance can represent.

    Numbers that are not integers get at most ten decimals as well, unless the range is so narrow
    that its numbers need more.

    Args:
        schema: The schema.
        has_step: Whether another schema of the same number has `multipleOf`, which limits the
            decimals.
    """
    _read_draft_4(schema)
    types = _types(schema) or _free_types(schema)
    if not {"number", "integer"} & set(types) or {"const", "enum"} & schema.keys():
        return
    for key, exclusive, sign in (
        ("minimum", "exclusiveMinimum", -1),
        ("maximum", "exclusiveMaximum", 1),
    ):
        for given in (key, exclusive):
            if is_number(schema.get(given)) and schema[given] * sign > _LARGEST:
                del schema[given]
        if not (is_number(schema.get(key)) or is_number(schema.get(exclusive))):
            schema[key] = sign * _LARGEST
    if "number" in types:
        _exclude_whole_bounds(schema)
    has_step = has_step or "multipleOf" in schema
    if "number" in types and not has_step and _width(schema) > _NARROW:
        schema["multipleOf"] = FINEST


def _exclude_whole_bounds(schema: dict[str, Any]) -> None:
    """Moves a bound such as "above 2" to the next number, because llguidance lets 2 through.

    It does so where all numbers between the bounds begin with the same digits before the point.
    """
    room = abs(_width(schema))
    for key, exclusive, sign in (
        ("minimum", "exclusiveMinimum", 1),
        ("maximum", "exclusiveMaximum", -1),
    ):
        bound: Any = schema.get(exclusive)
        if not is_number(bound) or bound % 1 or not 0 <= bound * sign < _EXACT:
            continue
        size = abs(bound)
        least = max(size + min(FINEST, room * _NARROW), math.nextafter(size, math.inf))
        del schema[exclusive]
        inner = least * sign
        schema[key] = {1: max, -1: min}[sign](inner, schema.get(key, inner))


def _read_draft_4(schema: dict[str, Any]) -> None:
    """There, `exclusiveMinimum` says of `minimum` that it is not part of the range."""
    for key, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(schema.get(exclusive), bool):
            excludes = schema.pop(exclusive)
            if excludes and key in schema:
                schema[exclusive] = schema.pop(key)


def bound_free_parts(schema: dict[str, Any]) -> None:
    """Bounds the numbers in items and properties that the schema does not describe."""
    if not schema.keys() - ANNOTATIONS:
        schema.update(any_json_reference())
    if {"const", "enum"} & schema.keys() or _COMBINED & schema.keys():
        return
    types = _types(schema)
    if "array" in types:
        schema.setdefault("items", any_json_reference())
    if "object" in types:
        schema.setdefault("additionalProperties", any_json_reference())


def _width(schema: dict[str, Any]) -> float:
    """The distance between the bounds of a schema that has both; infinite beyond any float."""
    lower = (schema[key] for key in ("minimum", "exclusiveMinimum") if is_number(schema.get(key)))
    upper = (schema[key] for key in ("maximum", "exclusiveMaximum") if is_number(schema.get(key)))
    least, most = max(lower), min(upper)
    try:
        return float(most - least)
    except OverflowError:  # of integers with hundreds of digits
        return math.inf if most > least else -math.inf


def _types(schema: dict[str, Any]) -> list[str]:
    given = schema.get("type", ())
    return [given] if isinstance(given, str) else list(given)


def _free_types(schema: dict[str, Any]) -> list[str]:
    """What numbers a schema without a type allows; a combined one leaves that to its parts."""
    is_free = schema.keys() - ANNOTATIONS and not _COMBINED & schema.keys()
    return ["number"] if is_free else []


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)
