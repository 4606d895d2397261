"""`contains`, `uniqueItems` and `propertyNames`, written with keywords that a grammar enforces.

What cannot be written so is left in the schema.
"""

from __future__ import annotations

import json
from itertools import permutations
from typing import Any

from amulet_integrations.prompting.json_schema.references import resolve
from amulet_integrations.prompting.json_schema.shape import check_shape, listed_values

Schema = dict[str, Any]

_MOST_FIRST = 8  # items that are made to stand first
_MOST_LISTED = 4  # values whose every order is written out
_NAME_LENGTHS = frozenset({"minLength", "maxLength", "type"})


def rewrite_contains(schema: Schema) -> Schema:
    """Makes the items that an array has to contain its first ones."""
    if "contains" not in schema:
        return {key: value for key, value in schema.items() if key != "maxContains"}
    least = schema.get("minContains", 1)
    others = {key: value for key, value in schema.items() if key not in {"contains", "minContains"}}
    if least == 0 and "maxContains" not in schema:
        return others
    items = schema.get("items", True)
    is_tuple = "prefixItems" in schema or isinstance(items, list | tuple)
    if is_tuple or not 0 <= least <= _MOST_FIRST:
        return schema
    is_free = items is True or items == {}
    first = schema["contains"] if is_free else {"allOf": [items, schema["contains"]]}
    narrowed = {**others, "prefixItems": [first] * least, "items": items}
    narrowed["minItems"] = max(least, schema.get("minItems", 0))
    return narrowed if least else others


def rewrite_unique_items(schema: Schema, document: Schema) -> Schema:
    """Writes out the arrays of a few values, each at most once; of more, bounds the length.

    Args:
        schema: A schema.
        document: The whole schema, to which references point.
    """
    items = schema.get("items")
    if isinstance(items, dict) and "$ref" in items:
        items = resolve(document, items["$ref"])
    values = listed_values(items)
    if schema.get("uniqueItems") is not True or values is None:
        return schema
    if {"prefixItems", "contains", "anyOf"} & schema.keys() or schema.get("type") != "array":
        return schema
    different = list({json.dumps(value, sort_keys=True): value for value in values}.values())
    least = schema.get("minItems", 0)
    most = min(schema.get("maxItems", len(different)), len(different))
    if len(different) > _MOST_LISTED or least > most:
        return {**schema, "maxItems": most}
    replaced = {"items", "uniqueItems", "minItems", "maxItems"}
    others = {key: value for key, value in schema.items() if key not in replaced}
    arrays = [
        {"const": list(array)}
        for length in range(least, most + 1)
        for array in permutations(different, length)
    ]
    return {**others, "anyOf": arrays}


def rewrite_property_names(schema: Schema, document: Schema) -> Schema:
    """Writes what names a map may have as its properties, or as a pattern.

    Args:
        schema: A schema.
        document: The whole schema, to which references point.
    """
    names = schema.get("propertyNames", True)
    if isinstance(names, dict) and "$ref" in names:
        names = resolve(document, names["$ref"])
    others = {key: value for key, value in schema.items() if key != "propertyNames"}
    if names is True or names in ({}, {"type": "string"}):
        return others
    if {"properties", "patternProperties"} & schema.keys() or not isinstance(names, dict):
        return schema
    value = others.get("additionalProperties", True)
    if isinstance(enum := names.get("enum"), list | tuple):
        listed = {"properties": {name: value for name in enum if isinstance(name, str)}}
    elif (pattern := _name_pattern(names)) is not None:
        listed = {"patternProperties": {pattern: value}}
    else:
        return schema
    check_shape(listed)
    return {**others, **listed, "additionalProperties": False}


def _name_pattern(names: Schema) -> str | None:
    """The pattern of names; None where there is more to them."""
    described = {key: value for key, value in names.items() if key not in {"title", "description"}}
    if described.keys() <= {"pattern", "type"} and isinstance(names.get("pattern"), str):
        return str(names["pattern"])
    if described.keys() <= _NAME_LENGTHS:
        return f"^.{{{names.get('minLength', 0)},{names.get('maxLength', '')}}}$"
    return None
