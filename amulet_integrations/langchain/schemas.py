"""Schemas of answers: what LangChain users give, as JSON schemas and response formats."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeGuard

from langchain_core.utils.function_calling import convert_to_json_schema
from llguidance import LLMatcher
from pydantic import BaseModel
from pydantic.v1 import BaseModel as BaseModelV1

from amulet_integrations.errors import PromptError, UnsupportedGrammarError
from amulet_integrations.prompting.tools import JsonOutput

PydanticClass = type[BaseModel] | type[BaseModelV1]
AnySchema = Mapping[str, Any] | type

_ANY_OBJECT: dict[str, Any] = {"type": "object"}
_UNNAMED = "answer"


def is_pydantic(schema: object) -> TypeGuard[PydanticClass]:
    """Whether it is a Pydantic model, of version 2 or 1."""
    return isinstance(schema, type) and issubclass(schema, BaseModel | BaseModelV1)


def to_json_schema(schema: AnySchema) -> dict[str, Any]:
    """The JSON schema of a Pydantic model, a TypedDict, or of a dict that is or holds one.

    Args:
        schema: A dict may be a JSON schema, with or without a title, or a function in the form
            of OpenAI or Anthropic.

    Raises:
        PromptError: It is none of these.
    """
    try:
        if is_pydantic(schema):
            v2 = issubclass(schema, BaseModel)
            return schema.model_json_schema() if v2 else schema.schema()  # type: ignore[union-attr]
        if not isinstance(schema, Mapping):
            return convert_to_json_schema(schema)
    except Exception as error:  # annotations that pydantic cannot write raise what they like
        raise PromptError(f"{_shown(schema)} has no JSON schema: {error}") from error
    return _of_dict(schema)


def titled(schema: AnySchema) -> AnySchema:
    """The schema with a name, where it is a dict that has none."""
    if isinstance(schema, Mapping) and not schema.keys() & {"title", "name", "function"}:
        return {"title": _UNNAMED, **schema}
    return schema


def check_schema(what: str, schema: Mapping[str, Any]) -> None:
    """Refuses a schema that cannot be enforced while decoding; no model is needed to know.

    Raises:
        UnsupportedGrammarError: The grammar's own words say which part.
    """
    try:
        fault = _fault(json.dumps(schema))
    except (TypeError, ValueError) as error:
        fault = str(error)
    if fault:
        raise UnsupportedGrammarError(
            f"The schema of {what} cannot be enforced while decoding: {' '.join(fault.split())}. "
            "Leave that part out of the schema and check it afterwards."
        )


def to_response_format(wanted: Any) -> dict[str, Any]:
    """Writes a response format as a dict of OpenAI's form.

    Args:
        wanted: Such a dict, a Pydantic model or a TypedDict.

    Raises:
        PromptError: It is neither.
    """
    if isinstance(wanted, type):
        return json_schema_format(wanted)
    if isinstance(wanted, Mapping) and wanted.get("type") in ("text", "json_object", "json_schema"):
        return dict(wanted)
    raise PromptError(
        f"response_format={str(wanted)[:80]} is not one. Use "
        '{"type": "json_schema", "json_schema": {"name": ..., "schema": ...}}, '
        '{"type": "json_object"} or {"type": "text"}.'
    )


def json_schema_format(schema: AnySchema, strict: bool | None = None) -> dict[str, Any]:
    """The response format of answers that follow a schema, which the model is told."""
    written = to_json_schema(schema)
    described: dict[str, Any] = {"name": str(written.get("title", _UNNAMED)), "schema": written}
    if strict is not None:
        described["strict"] = strict
    return {"type": "json_schema", "json_schema": described}


def json_object_format(schema: AnySchema | None) -> dict[str, Any]:
    """The response format of answers that follow a schema, which the model is not told."""
    written = _ANY_OBJECT if schema is None else to_json_schema(schema)
    return {"type": "json_object", "schema": written}


def to_json_output(wanted: Mapping[str, Any] | None, *, steer_strings: bool) -> JsonOutput | None:
    """Reads a response format.

    Raises:
        PromptError: It holds no schema where one should be.
        UnsupportedGrammarError: Its schema cannot be enforced.
    """
    kind = wanted["type"] if wanted else "text"
    if wanted is None or kind == "text":
        return None
    in_prompt = kind == "json_schema"
    if in_prompt:
        inner = wanted.get("json_schema")
        schema = inner.get("schema") if isinstance(inner, Mapping) else None
    else:
        schema = wanted.get("schema", _ANY_OBJECT)
    if not isinstance(schema, Mapping):
        raise PromptError(
            "response_format holds no schema. Use "
            '{"type": "json_schema", "json_schema": {"name": ..., "schema": ...}}.'
        )
    check_schema("the answer", schema)
    return JsonOutput(json_schema=dict(schema), in_prompt=in_prompt, steer_strings=steer_strings)


@lru_cache(maxsize=256)
def _fault(schema: str) -> str:
    """What llguidance says against a schema; "" where it reads it."""
    return str(LLMatcher.validate_grammar(LLMatcher.grammar_from_json_schema(schema), None))


def _of_dict(schema: Mapping[str, Any]) -> dict[str, Any]:
    function = schema.get("function", schema)
    if isinstance(function, Mapping) and isinstance(function.get("name"), str):
        for key in ("parameters", "input_schema"):
            if isinstance(function.get(key), Mapping):
                about = {"title": function["name"]}
                if function.get("description"):
                    about["description"] = function["description"]
                return {**about, **function[key]}
    return dict(schema)


def _shown(schema: object) -> str:
    return getattr(schema, "__name__", None) or str(schema)[:80]
