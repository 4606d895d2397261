"""The `response_format` of OpenAI: converted from schemas, and read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amulet_integrations.errors import PromptError
from amulet_integrations.prompting.json_schema.object_types import is_type
from amulet_integrations.prompting.tools.tool_use import JsonOutput

from .schema_check import SchemaCheck
from .schemas import (
    schema_name,
    strict_schema,
    to_json_schema,
)

_ANY_OBJECT: dict[str, Any] = {"type": "object"}


def to_response_format(wanted: Any) -> dict[str, Any]:
    """Converts a response format to a dict in OpenAI's form.

    Args:
        wanted: Such a dict, or a type of objects; see `ObjectType.of`.

    Raises:
        PromptError: `wanted` is neither.
    """
    if is_type(wanted):
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


def json_schema_format(schema: object, strict: bool | None = None) -> dict[str, Any]:
    """The response format of answers that follow a schema, which stands in the prompt."""
    written = to_json_schema(schema)
    described: dict[str, Any] = {"name": schema_name(written), "schema": written}
    if strict is not None:
        described["strict"] = strict
    return {"type": "json_schema", "json_schema": described}


def checked_by_caller(response_format: Mapping[str, Any]) -> dict[str, Any]:
    """A response format whose answers the caller checks, so that the model returns any answer."""
    return {**response_format, "check": False}


def json_object_format(schema: object) -> dict[str, Any]:
    """The response format of answers that follow a schema, which does not stand in the prompt."""
    written = _ANY_OBJECT if schema is None else to_json_schema(schema)
    return {"type": "json_object", "schema": written}


def to_json_output(
    wanted: Mapping[str, Any] | None, *, steer_strings: bool
) -> tuple[JsonOutput, SchemaCheck] | None:
    """Reads a response format, a dict in OpenAI's form.

    Args:
        wanted: The response format; None for any text.
        steer_strings: See `JsonOutput`.

    Returns:
        The JSON that the answer has to be, and what has to be found out about its schema; None
        for any text.

    Raises:
        PromptError: The response format lacks its schema.
        UnsupportedGrammarError: The schema is too large.
    """
    kind = wanted["type"] if wanted else "text"
    if wanted is None or kind == "text":
        return None
    in_prompt = kind == "json_schema"
    described = wanted.get("json_schema") if in_prompt else {"schema": _ANY_OBJECT, **wanted}
    schema = described.get("schema") if isinstance(described, Mapping) else None
    if described is None or not isinstance(schema, Mapping):
        raise PromptError(
            "response_format holds no schema. Use "
            '{"type": "json_schema", "json_schema": {"name": ..., "schema": ...}}.'
        )
    is_strict = in_prompt and described.get("strict") is True
    written = strict_schema(schema) if is_strict else dict(schema)
    output = JsonOutput(
        json_schema=written,
        in_prompt=in_prompt,
        steer_strings=steer_strings,
        check=wanted.get("check") is not False,
    )
    return output, SchemaCheck("the answer", written, strict=is_strict)
