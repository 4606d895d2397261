"""Bounds of what a schema leaves open: numbers that are finite, however deep they stand.

Without bounds llguidance lets exponents have any number of digits, and what is past the range of
floating point is no number to those who read it. Between bounds it writes digits, no exponents.
"""

from __future__ import annotations

from typing import Any

# The widest that llguidance can count.
_MOST = 9 * 10**18

ANYTHING_NAME = "amulet.any-json"
_ANYTHING_REF = f"#/$defs/{ANYTHING_NAME}"

# What says nothing about a value.
_ANNOTATIONS = frozenset(
    {"title", "description", "default", "examples", "example", "deprecated", "readOnly"}
    | {"writeOnly", "$comment", "$defs", "definitions", "$schema", "$id", "x-guidance"}
)
_COMBINED = frozenset({"$ref", "allOf", "anyOf", "oneOf"})


def anything() -> dict[str, Any]:
    """The schema of any JSON value with finite numbers; it stands in $defs by `ANYTHING_NAME`."""
    return {
        "anyOf": [
            {"type": ["null", "boolean", "string"]},
            {"type": "number", "minimum": -_MOST, "maximum": _MOST},
            {"type": "array", "items": any_value()},
            {"type": "object", "additionalProperties": any_value()},
        ]
    }


def any_value() -> dict[str, Any]:
    """A reference to `anything`."""
    return {"$ref": _ANYTHING_REF}


def uses_anything(schema: Any) -> bool:
    """Whether there is such a reference in a schema."""
    if isinstance(schema, list):
        return any(map(uses_anything, schema))
    if not isinstance(schema, dict):
        return False
    return schema.get("$ref") == _ANYTHING_REF or any(map(uses_anything, schema.values()))


def bound_numbers(schema: dict[str, Any]) -> None:
    """Sets bounds where the schema has none, or wider ones than can be counted."""
    if "number" not in _types(schema) or {"const", "enum"} & schema.keys():
        return
    for key, exclusive, sign in (
        ("minimum", "exclusiveMinimum", -1),
        ("maximum", "exclusiveMaximum", 1),
    ):
        for given in (key, exclusive):
            if _is_number(schema.get(given)) and schema[given] * sign > _MOST:
                del schema[given]
        if not (_is_number(schema.get(key)) or _is_number(schema.get(exclusive))):
            schema[key] = sign * _MOST


def bound_free_parts(schema: dict[str, Any]) -> None:
    """Makes finite the numbers inside of items and properties that the schema does not describe."""
    if not schema.keys() - _ANNOTATIONS:
        schema.update(any_value())
    if {"const", "enum"} & schema.keys() or _COMBINED & schema.keys():
        return
    types = _types(schema)
    if "array" in types:
        schema.setdefault("items", any_value())
    if "object" in types:
        schema.setdefault("additionalProperties", any_value())


def _types(schema: dict[str, Any]) -> list[str]:
    given = schema.get("type", ())
    return [given] if isinstance(given, str) else list(given)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
