"""LangChain's ways to describe tools."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from amulet_integrations.errors import PromptError
from amulet_integrations.prompting.openai_compat.openai_tools import (
    as_tool_name,
    checked_tool,
    tool_list,
    unique_tools,
)

AnyTool = Mapping[str, Any] | type | Callable[..., Any] | BaseTool

_FUNCTIONS = (None, "function", "object", "custom")
"""What a dict may have as its type; all others are tools that a provider runs itself."""


def to_openai_tools(tools: Sequence[AnyTool], strict: bool | None = None) -> list[dict[str, Any]]:
    """Writes tools of any form in OpenAI's, which is plain JSON.

    Args:
        tools: Functions, LangChain tools, Pydantic models, TypedDicts, or dicts in the form of
            OpenAI, Anthropic or Bedrock, or JSON schemas with a title.
        strict: Whether arguments that the schema does not name are refused at every depth.

    Raises:
        PromptError: One of them describes no function, or two differ but have one name.
    """
    return unique_tools([_to_openai_tool(tool, strict) for tool in tool_list(tools)])


def _to_openai_tool(tool: AnyTool, strict: bool | None) -> dict[str, Any]:
    if isinstance(tool, Mapping) and tool.get("type") not in _FUNCTIONS:
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
    # Not by LangChain, which closes objects that a reference describes to all their properties.
    return checked_tool(function, strict)


def _shown(tool: AnyTool) -> str:
    name = getattr(tool, "name", None) or getattr(tool, "__name__", None)
    return repr(name) if name else f"{str(tool)[:80]}"
