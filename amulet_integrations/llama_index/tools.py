"""LlamaIndex's tools in OpenAI's form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import fields
from typing import Any

from llama_index.core.program import function_program
from llama_index.core.tools import BaseTool, FunctionTool, ToolMetadata

from amulet_integrations.errors import PromptError
from amulet_integrations.prompting.openai_compat.openai_tools import (
    as_tool_name,
    checked_tool,
    tool_list,
    unique_tools,
)
from amulet_integrations.prompting.openai_compat.schemas import to_json_schema

AnyTool = BaseTool | Mapping[str, Any]


def to_openai_tools(tools: Sequence[AnyTool]) -> list[dict[str, Any]]:
    """Writes tools in OpenAI's form, which is plain JSON.

    Args:
        tools: LlamaIndex's tools, or dicts in OpenAI's form.

    Raises:
        PromptError: One of them describes no function, or two differ but have one name.
        UnsupportedGrammarError: A schema cannot be enforced while decoding.
    """
    return unique_tools([checked_tool(_function_of(tool)) for tool in tool_list(tools)])


def own_names(tools: Sequence[AnyTool]) -> dict[str, str]:
    """The names by which LlamaIndex knows its tools, by those that the model is told."""
    names = [tool.metadata.get_name() for tool in tools if isinstance(tool, BaseTool)]
    return {as_tool_name(name): name for name in names}


def is_of_program(tool: AnyTool) -> bool:
    """Whether a program made the tool of a class whose object it waits for.

    LlamaIndex's programs say only sometimes that a call has to be made, but without one they have
    nothing to return.
    """
    maker = getattr(tool.fn, "__module__", None) if isinstance(tool, FunctionTool) else None
    return maker == function_program.__name__


def callable_tool(tool: BaseTool) -> BaseTool:
    """The tool, as LlamaIndex is able to call it.

    What it calls tools with looks their properties up, and a recursive class has none of its own:
    its schema refers to them.
    """
    if not isinstance(tool, FunctionTool) or "properties" in tool.metadata.get_parameters_dict():
        return tool
    told = {field.name: getattr(tool.metadata, field.name) for field in fields(tool.metadata)}
    other = copy(tool)
    other._metadata = _WithProperties(**told)  # noqa: SLF001 - the copy's own
    return other


class _WithProperties(ToolMetadata):
    def get_parameters_dict(self) -> dict[str, Any]:
        return {"properties": {}, **super().get_parameters_dict()}


def _function_of(tool: AnyTool) -> dict[str, Any]:
    if isinstance(tool, Mapping):
        function = tool.get("function")
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise PromptError(
                f"{str(tool)[:80]} cannot be used as a tool: it has no function's name. Give "
                '{"type": "function", "function": {"name": ..., "parameters": ...}}.'
            )
        return {**function, "name": as_tool_name(function["name"])}
    if not isinstance(tool, BaseTool):
        raise PromptError(
            f"{str(tool)[:80]} is no tool of LlamaIndex's. Use FunctionTool.from_defaults(fn=...)."
        )
    if not tool.metadata.name:
        raise PromptError(f"{str(tool)[:80]} cannot be used as a tool: it has no name.")
    return {
        "name": as_tool_name(tool.metadata.name),
        "description": tool.metadata.description or "",
        "parameters": _parameters_of(tool),
    }


def _parameters_of(tool: BaseTool) -> dict[str, Any]:
    """The whole schema; LlamaIndex's own form of it leaves parts out, recursion among them."""
    if tool.metadata.fn_schema is None:
        return dict(tool.metadata.get_parameters_dict())
    schema = to_json_schema(tool.metadata.fn_schema)
    return {key: value for key, value in schema.items() if key not in {"title", "description"}}
