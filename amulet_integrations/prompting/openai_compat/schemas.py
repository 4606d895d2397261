"""JSON schemas of answers and arguments: from Python types and dicts, named and closed."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from amulet_integrations.errors import PromptError
from amulet_integrations.prompting.json_schema.object_types import ObjectType, type_label
from amulet_integrations.prompting.json_schema.shape import map_subschemas
from amulet_integrations.prompting.json_schema.size import check_size

_UNNAMED = "answer"
_OBJECT_KEYWORDS = frozenset({"properties", "additionalProperties"})
_COMBINED = frozenset({"$ref", "anyOf", "oneOf", "allOf"})
# The keywords in whose schemas strict schemas are closed as well.
_CLOSED_WITHIN = frozenset(
    {"properties", "$defs", "definitions", "anyOf", "oneOf", "allOf", "items", "prefixItems"}
)
# A dict is a JSON schema only if it has at least one of these.
_KEYWORDS = frozenset(
    {
        *("$ref", "type", "enum", "const", "anyOf", "oneOf", "allOf", "not", "if", "properties"),
        *("required", "additionalProperties", "patternProperties", "items", "prefixItems"),
        *("pattern", "format", "minLength", "maxLength", "minimum", "maximum", "minItems"),
    }
)


def to_json_schema(schema: object) -> dict[str, Any]:
    """The JSON schema of a Python type, or of a dict that is or contains one.

    Args:
        schema: A type may be any that `ObjectType.of` takes. A dict may be a JSON schema, with or
            without a title, a function in the form of OpenAI or Anthropic, or the content of an
            OpenAI response format.

    Raises:
        PromptError: It is none of these.
    """
    if isinstance(schema, Mapping):
        return _from_dict(schema)
    return deepcopy(ObjectType.of(schema).json_schema)


def schema_name(written: Mapping[str, Any]) -> str:
    """The name of a schema that `to_json_schema` returned."""
    return str(written.get("title") or _UNNAMED)


def is_wrapped(schema: Mapping[str, Any]) -> bool:
    """Whether a dict is the content of an OpenAI response format: a name, a schema and flags."""
    inner = schema.get("json_schema", schema)
    return isinstance(inner, Mapping) and isinstance(inner.get("schema"), Mapping)


def unwrap(wrapper: Mapping[str, Any]) -> dict[str, Any]:
    """The schema in such a wrapper, with the wrapper's name and description."""
    inner = wrapper.get("json_schema", wrapper)
    outside = {"title": inner.get("name"), "description": inner.get("description")}
    return {**{key: value for key, value in outside.items() if value}, **inner["schema"]}


def strict_flag(schema: object) -> bool | None:
    """The `strict` flag of a wrapper; None if it has none, or if the schema is no wrapper."""
    if not isinstance(schema, Mapping) or not is_wrapped(schema):
        return None
    strict = schema.get("json_schema", schema).get("strict")
    return strict if isinstance(strict, bool) else None


def strict_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with every object closed and every property required, as strict tools have it.

    Raises:
        UnsupportedGrammarError: It is too large.
    """
    check_size("of a strict answer or tool", schema)
    return _closed(schema)


def _closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    def close_inner(inner: Any, keyword: str, _pointer: str) -> Any:
        # Several parts of one object would exclude each other's properties.
        is_part = keyword == "allOf" and len(schema["allOf"]) > 1
        closes = keyword in _CLOSED_WITHIN and not is_part and isinstance(inner, dict)
        return _closed(inner) if closes else inner

    strict = map_subschemas(dict(schema), close_inner)
    properties = strict.get("properties")
    if isinstance(properties, dict) and properties:
        strict["required"] = list(properties)
    if not _COMBINED.isdisjoint(strict):
        # What is described in parts is closed with the grammar, when all parts are known.
        strict.pop("additionalProperties", None)
    elif strict.get("type") == "object" or not _OBJECT_KEYWORDS.isdisjoint(strict):
        strict["additionalProperties"] = False
    return strict


def _from_dict(schema: Mapping[str, Any]) -> dict[str, Any]:
    if is_wrapped(schema):
        schema = unwrap(schema)
    function = schema.get("function", schema)
    if isinstance(function, Mapping) and isinstance(function.get("name"), str):
        named = {"title": function["name"]}
        for key in ("parameters", "input_schema"):
            if isinstance(function.get(key), Mapping):
                if function.get("description"):
                    named["description"] = function["description"]
                return {**named, **function[key]}
        schema = {**named, **{name: function[name] for name in function if name != "name"}}
    if not _KEYWORDS & schema.keys():
        raise PromptError(
            f"{type_label(schema)} is no JSON schema: it has no "
            '"type", "properties" or the like. '
            'Give one, such as {"title": ..., "type": "object", "properties": {...}}.'
        )
    return dict(schema)
