"""Formats of answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amulet_integrations.errors import PromptError
from amulet_integrations.prompting.openai_compat.schemas import (
    PydanticClass,
    check_schema,
    closed,
    is_pydantic,
    name_of,
    to_json_schema,
)
from amulet_integrations.prompting.tools.tool_use import JsonOutput

_ANY_OBJECT: dict[str, Any] = {"type": "object"}


def to_response_format(wanted: Any) -> dict[str, Any]:
    """Writes a response format as a dict of OpenAI's form.

    Args:
        wanted: Such a dict, or a Pydantic model.

    Raises:
        PromptError: It is neither.
    """
    if is_pydantic(wanted):
        return json_schema_format(wanted)
    if isinstance(wanted, Mapping) and wanted.get("type") == "json_schema" and "schema" in wanted:
        inner = {name: wanted[name] for name in wanted if name != "type"}
        return {"type": "json_schema", "json_schema": inner}
    if isinstance(wanted, Mapping) and wanted.get("type") in ("text", "json_object", "json_schema"):
        return dict(wanted)
    raise PromptError(
        f"response_format={str(wanted)[:80]} is not one. Use "
        '{"type": "json_schema", "json_schema": {"name": ..., "schema": ...}}, '
        '{"type": "json_object"} or {"type": "text"}.'
    )


def json_schema_format(
    schema: Mapping[str, Any] | PydanticClass, strict: bool | None = None
) -> dict[str, Any]:
    """The response format of answers that follow a schema, which the model is told."""
    written = to_json_schema(schema)
    described: dict[str, Any] = {"name": name_of(written), "schema": written}
    if strict is not None:
        described["strict"] = strict
    return {"type": "json_schema", "json_schema": described}


def json_object_format(schema: Mapping[str, Any] | PydanticClass | None) -> dict[str, Any]:
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
    in_prompt, closes = kind == "json_schema", False
    if in_prompt:
        inner = wanted.get("json_schema")
        schema = inner.get("schema") if isinstance(inner, Mapping) else None
        closes = isinstance(inner, Mapping) and inner.get("strict") is True
    else:
        schema = wanted.get("schema", _ANY_OBJECT)
    if not isinstance(schema, Mapping):
        raise PromptError(
            "response_format holds no schema. Use "
            '{"type": "json_schema", "json_schema": {"name": ..., "schema": ...}}.'
        )
    check_schema("the answer", schema)
    schema = closed(schema) if closes else dict(schema)
    return JsonOutput(json_schema=schema, in_prompt=in_prompt, steer_strings=steer_strings)
