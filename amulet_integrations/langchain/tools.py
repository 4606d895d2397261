"""LangChain's ways to describe tools and to choose among them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from amulet_integrations.errors import PromptError
from amulet_integrations.langchain.schemas import check_schema, closed
from amulet_integrations.prompting.tools import Tool, ToolUse

AnyTool = Mapping[str, Any] | type | Callable[..., Any] | BaseTool
ToolChoice = str | bool | Mapping[str, Any] | None

_CHOICES = {
    "auto": "auto",
    "any": "required",
    "required": "required",
    True: "required",
    "none": "none",
    False: "none",
}
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
    if not isinstance(tools, list | tuple):
        raise PromptError(f"tools is a {type(tools).__name__}; give a list of tools.")
    written: dict[str, dict[str, Any]] = {}
    for tool in tools:
        one = _to_openai_tool(tool, strict)
        name = one["function"]["name"]
        # The same tool given twice, perhaps as a class and as its schema, is no ambiguity.
        if _bare(written.setdefault(name, one)) != _bare(one):
            raise PromptError(
                f"Two tools have the name {name!r}, so a call could not tell which is meant. "
                "Give each tool a name of its own."
            )
    return list(written.values())


def to_openai_choice(choice: ToolChoice) -> str | dict[str, Any]:
    """Writes a choice in OpenAI's form: "auto", "required", "none", or a dict that names a tool.

    Raises:
        PromptError: It is none of the known forms.
    """
    if choice is None:
        return "auto"
    if isinstance(choice, bool | str):
        return _CHOICES.get(choice) or _named(str(choice))
    if isinstance(choice, Mapping):
        function = choice.get("function")
        name = function.get("name") if isinstance(function, Mapping) else choice.get("name")
        if isinstance(name, str):
            return _named(name)
        kind = choice.get("type")
        if isinstance(kind, str) and kind in _CHOICES:
            return _CHOICES[kind]
    raise PromptError(
        f"tool_choice={choice!r} is not one. Use 'auto', 'any', 'none', the name of a tool, or "
        '{"type": "function", "function": {"name": ...}}.'
    )


def to_tool_use(
    tools: Sequence[dict[str, Any]], choice: ToolChoice = None, parallel: bool | None = None
) -> ToolUse | None:
    """Reads tools in OpenAI's form and the choice among them.

    Args:
        tools: From `to_openai_tools`.
        choice: In any form.
        parallel: Whether one answer may hold several calls; None: unless it has to be one.

    Returns:
        None where there are no tools.

    Raises:
        PromptError: A tool cannot be used, or the choice names none of them.
    """
    chosen = to_openai_choice(choice)
    if not tools:
        if chosen in {"auto", "none"}:
            return None
        raise PromptError(f"tool_choice={choice!r} wants a call, but there are no tools. Add some.")
    read = tuple(_read(tool["function"]) for tool in tools)
    if isinstance(chosen, str):
        return ToolUse(tools=read, choice=chosen, parallel=parallel)
    name = chosen["function"]["name"]
    return ToolUse(tools=read, choice="required", tool_name=name, parallel=parallel)


def wants_one_call(choice: ToolChoice) -> bool:
    """Whether Anthropic's form of a choice asks for one call at most."""
    return isinstance(choice, Mapping) and bool(choice.get("disable_parallel_tool_use"))


def as_tool_name(name: str) -> str:
    """The name of a class as that of a tool: of ``Box[int]``, `Box_int_`."""
    return re.sub(r"[^a-zA-Z0-9_.-]", "_", name)[:64]


def _named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


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
    if strict is not None and function.setdefault("strict", strict) != strict:
        raise PromptError(
            f"The tool {function['name']!r} has strict={function['strict']!r}, and the call has "
            f"strict={strict!r}. Leave one of them out."
        )
    if function.get("strict") is True and "parameters" in function:
        function = {**function, "parameters": closed(function["parameters"])}
    check_schema(f"the tool {function['name']!r}", _read(function).parameters, of_tool=True)
    return {"type": "function", "function": function}


def _read(function: Mapping[str, Any]) -> Tool:
    known = {name: function[name] for name in ("description", "parameters") if function.get(name)}
    return Tool(name=function["name"], **known)


def _shown(tool: AnyTool) -> str:
    name = getattr(tool, "name", None) or getattr(tool, "__name__", None)
    return repr(name) if name else f"{str(tool)[:80]}"


def _bare(schema: Any) -> Any:
    """A schema without titles, which pydantic writes in one form and LangChain drops in another."""
    if isinstance(schema, list):
        return [_bare(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: _bare(value)
        for name, value in schema.items()
        if not (name == "title" and isinstance(value, str))
    }
