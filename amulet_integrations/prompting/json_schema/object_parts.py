"""Finds out which parts of a JSON schema describe the properties of an object."""

from __future__ import annotations

from typing import Any

from .references import resolve
from .shape import map_subschemas

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


def property_names(schema: Any) -> set[str]:
    """The properties that a schema and the parts in it list, without what they refer to."""
    if not isinstance(schema, dict):
        return set()
    own = set(schema.get("properties", ())) | set(schema.get("required", ()))
    places = (part for key in IN_PLACE for part in schema.get(key, ()))
    conditions = (schema[key] for key in ("if", "then", "else") if key in schema)
    return own.union(*map(property_names, (*places, *conditions)))


def all_property_names(
    schema: Any, document: Any, seen: frozenset[str] = frozenset()
) -> set[str] | None:
    """The properties that a schema, its parts and what they refer to list.

    Args:
        schema: The schema.
        document: The whole schema, to which references point.
        seen: References that have been followed.

    Returns:
        The names; None where there may be others.
    """
    if not isinstance(schema, dict):
        return set()
    if schema.get("patternProperties") or schema.get("additionalProperties", False):
        return None
    parts = [part for key in IN_PLACE for part in schema.get(key, ())]
    parts += [schema[key] for key in ("if", "then", "else") if key in schema]
    parts += schema.get("dependentSchemas", {}).values()
    if (reference := schema.get("$ref")) is not None and reference not in seen:
        seen |= {reference}
        parts.append(resolve(document, reference))
    names = property_names(schema)
    for part in parts:
        found = all_property_names(part, document, seen)
        if found is None:
            return None
        names |= found
    return names


def count_object_parts(schema: dict[str, Any]) -> int:
    """How many parts of a schema together describe the properties of an object."""
    return (
        lists_properties(schema)
        + ("$ref" in schema)
        + sum(map(_describes_object, schema.get("allOf", ())))
        + any(map(_describes_object, schema.get("anyOf", ())))
        + any(map(_describes_object, schema.get("oneOf", ())))
    )


def combined_references(schema: Any, *, combined: bool = False) -> list[str]:
    """The references that are one of several parts which describe the same object."""
    if not isinstance(schema, dict):
        return []
    combined = combined or count_object_parts(schema) > 1
    found = [schema["$ref"]] if combined and "$ref" in schema else []

    def visit(inner: Any, keyword: str, _pointer: str) -> None:
        found.extend(combined_references(inner, combined=combined and keyword in IN_PLACE))

    map_subschemas(schema, visit)
    return found


def _describes_object(schema: Any) -> bool:
    return isinstance(schema, dict) and (
        "patternProperties" in schema or count_object_parts(schema) > 0
    )
