"""The properties of objects: which are listed, whether there may be others, and how many."""

from __future__ import annotations

from typing import Any

from amulet_integrations.prompting.json_schema.object_parts import lists_properties

# A string with one of these may be empty if they allow it.
_STRING_CONSTRAINTS = frozenset({"minLength", "enum", "const", "pattern", "format", "$ref"})


def list_required(schema: dict[str, Any]) -> None:
    """Lists the properties that are required and not described, before the object is closed."""
    if lists_properties(schema) and "additionalProperties" not in schema:
        named = dict.fromkeys(schema.get("required", ()), True)
        schema["properties"] = schema["properties"] | {
            name: named[name] for name in named if name not in schema["properties"]
        }


def narrow_object(schema: dict[str, Any], *, close: bool) -> None:
    """Closes an object that lists its properties; strings that are required get a character.

    Args:
        schema: The schema, which is changed.
        close: Whether it describes its value alone, so that there are no other properties.
    """
    if not (lists_properties(schema) or schema.get("patternProperties")):
        return
    if not {"type", "enum", "const"} & schema.keys():
        schema["type"] = "object"
    if close:
        schema.setdefault("additionalProperties", False)
    properties = schema.get("properties", {})
    for name in schema.get("required", ()):
        if _is_plain_string(properties.get(name)):
            properties[name] = {**properties[name], "minLength": 1}


def left_counts(schema: dict[str, Any]) -> list[str]:
    """The counts of properties that are left to a check; those that llguidance refuses go."""
    required = set(schema.get("required", ()))
    counts: list[str] = [k for k in ("minProperties", "maxProperties") if k in schema]
    if not schema.get("properties", {}).keys() <= required:
        for key in counts:
            del schema[key]
        return counts
    free = schema.get("additionalProperties") is not False or "patternProperties" in schema
    # llguidance counts a property that is written twice as two.
    uncertain = free and schema.get("minProperties", 0) > max(1, len(required))
    return ["minProperties"] if uncertain else []


def _is_plain_string(schema: Any) -> bool:
    return (
        isinstance(schema, dict)
        and schema.get("type") == "string"
        and not _STRING_CONSTRAINTS & schema.keys()
        and schema.get("maxLength") != 0
    )
