"""Schemas of answers and of arguments: read, named, closed and checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from functools import lru_cache
from typing import Any, TypeGuard

from llguidance import LLMatcher
from pydantic import BaseModel
from pydantic.v1 import BaseModel as BaseModelV1

from amulet_integrations.errors import PromptError, UnsupportedGrammarError
from amulet_integrations.prompting.json_schema.constrained import (
    arguments_schema,
    constrained_schema,
)

PydanticClass = type[BaseModel] | type[BaseModelV1]

_UNNAMED = "answer"
_OF_OBJECTS = frozenset({"properties", "additionalProperties"})
_COMBINED = frozenset({"$ref", "anyOf", "oneOf", "allOf"})
_MAPS = ("properties", "$defs", "definitions")
_LISTS = ("anyOf", "oneOf", "allOf", "items", "prefixItems")
_KEYWORDS = frozenset(
    {
        *("$ref", "type", "enum", "const", "anyOf", "oneOf", "allOf", "not", "if", "properties"),
        *("required", "additionalProperties", "patternProperties", "items", "prefixItems"),
        *("pattern", "format", "minLength", "maxLength", "minimum", "maximum", "minItems"),
    }
)
"""What a dict has at least one of where it is a JSON schema."""


def is_pydantic(schema: object) -> TypeGuard[PydanticClass]:
    """Whether it is a Pydantic model, of version 2 or 1."""
    return isinstance(schema, type) and issubclass(schema, BaseModel | BaseModelV1)


def to_json_schema(schema: Mapping[str, Any] | PydanticClass) -> dict[str, Any]:
    """The JSON schema of a Pydantic model, or of a dict that is or holds one.

    Args:
        schema: A dict may be a JSON schema, with or without a title, a function in the form of
            OpenAI or Anthropic, or what OpenAI's response formats hold.

    Raises:
        PromptError: It is none of these.
    """
    if isinstance(schema, Mapping):
        return _of_dict(schema)
    if not is_pydantic(schema):
        raise PromptError(f"{shown(schema)} is no Pydantic model and no JSON schema. Give one.")
    try:
        v2 = issubclass(schema, BaseModel)
        written = schema.model_json_schema() if v2 else schema.schema()  # type: ignore[union-attr]
    except Exception as error:  # annotations that pydantic cannot write raise what they like
        raise PromptError(f"{shown(schema)} has no JSON schema: {error}") from error
    # Recursive models write no title; version 1 keeps what it gives.
    return {"title": schema.__name__, **deepcopy(written)}


def name_of(written: Mapping[str, Any]) -> str:
    """The name of a schema that `to_json_schema` wrote."""
    return str(written.get("title") or _UNNAMED)


def is_wrapped(schema: Mapping[str, Any]) -> bool:
    """Whether it is what OpenAI's response formats hold: a name, a schema and flags."""
    inner = schema.get("json_schema", schema)
    return isinstance(inner, Mapping) and isinstance(inner.get("schema"), Mapping)


def unwrapped(wrapper: Mapping[str, Any]) -> dict[str, Any]:
    """The schema in such a wrapper, with the name and the description that are given outside."""
    inner = wrapper.get("json_schema", wrapper)
    outside = {"title": inner.get("name"), "description": inner.get("description")}
    return {**{key: told for key, told in outside.items() if told}, **inner["schema"]}


def strictness_of(schema: object) -> bool | None:
    """What a wrapper says about strictness; None where it says nothing or is none."""
    if not isinstance(schema, Mapping) or not is_wrapped(schema):
        return None
    strict = schema.get("json_schema", schema).get("strict")
    return strict if isinstance(strict, bool) else None


def check_schema(what: str, schema: Mapping[str, Any], *, of_tool: bool = False) -> None:
    """Refuses a schema that cannot be enforced while decoding; no model is needed to know.

    Args:
        what: What it is the schema of.
        schema: Any JSON schema.
        of_tool: Whether it describes the arguments of a tool.

    Raises:
        UnsupportedGrammarError: The message says which part, and where it stands.
    """
    constrain = arguments_schema if of_tool else constrained_schema
    try:
        fault = _fault(json.dumps(constrain(schema)))
    except UnsupportedGrammarError as error:
        named = str(error).replace("The schema", f"The schema of {what}", 1)
        raise UnsupportedGrammarError(named) from None
    if fault:
        raise UnsupportedGrammarError(
            f"The schema of {what} cannot be enforced while decoding: {' '.join(fault.split())}. "
            "Leave that part out of the schema and check it afterwards."
        )


def closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with every object closed and every property required, as strict tools have it."""
    described: dict[str, Any] = _closed(dict(schema))
    return described


def _closed(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    fitted = {key: _closed_within(key, value) for key, value in schema.items()}
    properties = fitted.get("properties")
    if isinstance(properties, dict) and properties:
        fitted["required"] = list(properties)
    if not _COMBINED.isdisjoint(fitted):
        # What is described in parts is closed with the grammar, where all parts are known.
        fitted.pop("additionalProperties", None)
    elif fitted.get("type") == "object" or not _OF_OBJECTS.isdisjoint(fitted):
        fitted["additionalProperties"] = False
    return fitted


def _closed_within(key: str, value: Any) -> Any:
    if key in _MAPS and isinstance(value, dict):
        return {name: _closed(inner) for name, inner in value.items()}
    if key in _LISTS and isinstance(value, list):
        # Parts of one object would shut each other's properties out.
        return value if key == "allOf" and len(value) > 1 else [_closed(inner) for inner in value]
    return _closed(value) if key == "items" else value


@lru_cache(maxsize=256)
def _fault(schema: str) -> str:
    """What llguidance says against a schema; "" where it reads it."""
    return str(LLMatcher.validate_grammar(LLMatcher.grammar_from_json_schema(schema), None))


def _of_dict(schema: Mapping[str, Any]) -> dict[str, Any]:
    if is_wrapped(schema):
        schema = unwrapped(schema)
    function = schema.get("function", schema)
    if isinstance(function, Mapping) and isinstance(function.get("name"), str):
        about = {"title": function["name"]}
        for key in ("parameters", "input_schema"):
            if isinstance(function.get(key), Mapping):
                if function.get("description"):
                    about["description"] = function["description"]
                return {**about, **function[key]}
        schema = {**about, **{name: function[name] for name in function if name != "name"}}
    if not _KEYWORDS & schema.keys():
        raise PromptError(
            f'{shown(schema)} is no JSON schema: it has no "type", "properties" or the like. '
            'Give one, such as {"title": ..., "type": "object", "properties": {...}}.'
        )
    return dict(schema)


def shown(schema: object) -> str:
    """What a schema is called in messages."""
    return getattr(schema, "__name__", None) or str(schema)[:80]
