"""Finds out which parts of a JSON schema describe the properties of an object."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from amulet_integrations.prompting.json_schema.shape import MAPS, SINGLE

IN_PLACE = ("allOf", "anyOf", "oneOf")
"""Keywords whose schemas describe the same value as the schema that has them."""


def lists_properties(schema: Any) -> bool:
    """Whether a schema itself lists properties."""
    return bool(isinstance(schema.get("properties"), dict) and schema["properties"])


def names_properties(schema: Any) -> bool:
    """Whether a schema, or one of its parts, determines which properties an object has."""
    return isinstance(schema, dict) and (
        lists_properties(schema)
        or not schema.keys().isdisjoint({"$ref", "patternProperties", "propertyNames"})
        or "additionalProperties" in schema
        or any(names_properties(part) for key in IN_PLACE for part in schema.get(key, ()))
    )


def count_object_parts(schema: dict[str, Any]) -> int:
    """How many parts of a schema together describe the properties of an object."""
    return (
        lists_properties(schema)
        + ("$ref" in schema)
        + sum(map(_describes_object, schema.get("allOf", ())))
        + any(map(_describes_object, schema.get("anyOf", ())))
        + any(map(_describes_object, schema.get("oneOf", ())))
    )


def combined_references(schema: Any, *, combined: bool = False) -> Iterator[str]:
    """The references that are one of several parts which describe the same object."""
    if isinstance(schema, list):
        for inner in schema:
            yield from combined_references(inner, combined=combined)
    elif isinstance(schema, dict):
        combined = combined or count_object_parts(schema) > 1
        reference = schema.get("$ref")
        if combined and isinstance(reference, str):
            yield reference
        for key, value in schema.items():
            if key in MAPS and isinstance(value, dict):
                yield from combined_references(list(value.values()))
            elif key in IN_PLACE:
                yield from combined_references(value, combined=combined)
            elif key in SINGLE or key == "prefixItems":
                yield from combined_references(value)


def _describes_object(schema: Any) -> bool:
    return isinstance(schema, dict) and (
        "patternProperties" in schema or count_object_parts(schema) > 0
    )
