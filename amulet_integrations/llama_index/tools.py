"""LlamaIndex's tools in OpenAI's form, the choice among them, and the calls of an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import fields
from typing import Any

from llama_index.core.agent.react import ReActChatFormatter, ReActOutputParser
from llama_index.core.base.llms.types import ChatResponse, ToolCallBlock
from llama_index.core.llms.llm import LLM, ToolSelection
from llama_index.core.program import function_program
from llama_index.core.tools import BaseTool, FunctionTool, ToolMetadata

from amulet_integrations.errors import PromptError
from amulet_integrations.prompting.openai_compat.openai_tools import (
    ToolChoice,
    as_tool_name,
    checked_tool,
    to_openai_choice,
    tool_list,
    unique_tools,
)
from amulet_integrations.prompting.openai_compat.schemas import to_json_schema

AnyTool = BaseTool | Mapping[str, Any]


def to_openai_tools(tools: Sequence[AnyTool]) -> list[dict[str, Any]]:
    """Converts tools to OpenAI's form, which is plain JSON.

    Args:
        tools: LlamaIndex's tools, or dicts in OpenAI's form.

    Raises:
        PromptError: A tool describes no function, or two tools differ but have one name.
        UnsupportedGrammarError: A schema is too large.
    """
    return unique_tools([checked_tool(_function(tool)) for tool in tool_list(tools)])


def original_names(tools: Sequence[AnyTool]) -> dict[str, str]:
    """Returns the names of LlamaIndex's tools, by the names that stand in the prompt."""
    names = [tool.metadata.get_name() for tool in tools if isinstance(tool, BaseTool)]
    return {as_tool_name(name): name for name in names}


def chat_tool_options(
    tools: Sequence[AnyTool], choice: ToolChoice, *, required: bool, parallel: bool
) -> dict[str, Any]:
    """Converts the arguments of `chat_with_tools` to those of `chat`.

    Args:
        tools: As for `to_openai_tools`.
        choice: The choice among them, in any form; None where the caller makes none.
        required: Whether the model has to call a tool.
        parallel: Whether one answer may contain several calls. A named tool is called once.
    """
    tools = tool_list(tools)
    if choice is None and (required or (tools and all(map(_is_program_tool, tools)))):
        choice = "required"
    openai_choice = to_openai_choice(choice)
    return {
        "tools": tools,
        "tool_choice": openai_choice,
        "parallel_tool_calls": parallel and not isinstance(openai_choice, dict),
    }


def tool_selections(response: ChatResponse) -> list[ToolSelection]:
    """Returns the calls of an answer, in LlamaIndex's form."""
    return [
        ToolSelection(
            tool_id=block.tool_call_id or "",
            tool_name=block.tool_name,
            tool_kwargs=block.tool_kwargs,
        )
        for block in response.message.blocks
        if isinstance(block, ToolCallBlock)
    ]


def callable_tools(tools: Sequence[BaseTool]) -> list[BaseTool]:
    """Returns tools that LlamaIndex is able to call.

    LlamaIndex looks up the properties in a tool's schema. The schema of a recursive class has none
    at the top, but refers to them.
    """
    return [_with_properties(tool) for tool in tool_list(tools)]


def react_defaults(llm: LLM) -> dict[str, Any]:
    """Returns arguments of `predict_and_call` that LlamaIndex needs and sets no defaults for.

    Where a prompt cannot describe tools, a `ReActAgent` describes them in the text of a message.
    """
    if llm.metadata.is_function_calling_model:
        return {}
    return {"react_chat_formatter": ReActChatFormatter(), "output_parser": ReActOutputParser()}


def _is_program_tool(tool: AnyTool) -> bool:
    """Whether a `FunctionCallingProgram` made the tool, of the class that it returns.

    LlamaIndex's programs require a call only sometimes, but have nothing to return without one.
    """
    maker = getattr(tool.fn, "__module__", None) if isinstance(tool, FunctionTool) else None
    return maker == function_program.__name__


def _with_properties(tool: BaseTool) -> BaseTool:
    if not isinstance(tool, FunctionTool) or "properties" in tool.metadata.get_parameters_dict():
        return tool
    metadata = {field.name: getattr(tool.metadata, field.name) for field in fields(tool.metadata)}
    twin = copy(tool)
    twin._metadata = _MetadataWithProperties(**metadata)  # noqa: SLF001 - the copy's own
    return twin


class _MetadataWithProperties(ToolMetadata):
    def get_parameters_dict(self) -> dict[str, Any]:
        return {"properties": {}, **super().get_parameters_dict()}


def _function(tool: AnyTool) -> dict[str, Any]:
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
        "parameters": _parameters(tool),
    }


def _parameters(tool: BaseTool) -> dict[str, Any]:
    """The whole schema; LlamaIndex's own form of it leaves parts out, recursion among them."""
    if tool.metadata.fn_schema is None:
        return dict(tool.metadata.get_parameters_dict())
    schema = to_json_schema(tool.metadata.fn_schema)
    return {key: value for key, value in schema.items() if key not in {"title", "description"}}
