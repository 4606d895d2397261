"""Tools and schemas as LangChain users give them, in OpenAI's form and as JSON schemas."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool

from amulet_integrations.errors import PromptError
from amulet_integrations.prompting.openai_compat import schemas
from amulet_integrations.prompting.openai_compat.openai_tools import (
    as_tool_name,
    checked_tool,
    tool_list,
    unique_tools,
)

AnySchema = Mapping[str, Any] | type
AnyTool = Mapping[str, Any] | type | Callable[..., Any] | BaseTool

# The types of dicts that describe functions; all others are tools that a provider runs itself.
_FUNCTION_TYPES = (None, "function", "object", "custom")


def to_openai_tools(tools: Sequence[AnyTool], strict: bool | None = None) -> list[dict[str, Any]]:
    """Converts tools of any form to OpenAI's form, which is plain JSON.

    Args:
        tools: Functions, LangChain tools, Pydantic models, TypedDicts, or dicts in the form of
            OpenAI, Anthropic or Bedrock, or JSON schemas with a title.
        strict: Whether every object in the parameters is closed to names that it does not list.

    Raises:
        PromptError: A tool describes no function, or two different tools have one name.
    """
    return unique_tools([_to_openai_tool(tool, strict) for tool in tool_list(tools)])


def to_json_schema(schema: AnySchema) -> dict[str, Any]:
    """The JSON schema of a Pydantic model, a TypedDict, or of a dict that is or contains one.

    Args:
        schema: A dict may be a JSON schema, with or without a title, a function in the form of
            OpenAI or Anthropic, or the content of an OpenAI response format.

    Raises:
        PromptError: It is none of these.
    """
    if isinstance(schema, Mapping) or schemas.is_pydantic(schema):
        return schemas.to_json_schema(schema)
    try:
        return convert_to_json_schema(schema)
    except Exception as error:  # annotations that pydantic cannot convert raise any error
        raise PromptError(f"{schemas.schema_label(schema)} has no JSON schema: {error}") from error


def _to_openai_tool(tool: AnyTool, strict: bool | None) -> dict[str, Any]:
    if isinstance(tool, Mapping) and tool.get("type") not in _FUNCTION_TYPES:
        raise PromptError(
            f"A tool of type {tool.get('type')!r} is one that a provider runs on its own servers. "
            "Give a function, a LangChain tool, or the schema of one."
        )
    try:
        written = convert_to_openai_tool(tool)
    except Exception as error:  # the annotations of somebody's function may raise anything
        raise PromptError(f"{_shown(tool)} cannot be used as a tool: {error}") from error
    function = written.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise PromptError(f"{_shown(tool)} cannot be used as a tool: it has no function's name.")
    if isinstance(tool, type):
        function = {**function, "name": as_tool_name(function["name"])}
    # LangChain's own strictness removes the properties of objects that are given by reference.
    return checked_tool(function, strict)


def _shown(tool: AnyTool) -> str:
    name = getattr(tool, "name", None) or getattr(tool, "__name__", None)
    return repr(name) if name else f"{str(tool)[:80]}"
