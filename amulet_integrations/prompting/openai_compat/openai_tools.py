"""Tools in OpenAI's form, and the choice among them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar
from uuid import uuid4

from amulet_integrations.concurrency.deadline import Deadline
from amulet_integrations.errors import PromptError
from amulet_integrations.prompting.tools.tool_use import Tool, ToolUse

from .schema_check import SchemaCheck
from .schemas import strict_schema

T = TypeVar("T")
ToolChoice = str | bool | Mapping[str, Any] | None

_CHOICES = {
    "auto": "auto",
    "any": "required",
    "required": "required",
    True: "required",
    "none": "none",
    False: "none",
}


def tool_list(tools: Sequence[T]) -> list[T]:
    """The tools as a new list.

    Raises:
        PromptError: `tools` is not a list.
    """
    if not isinstance(tools, list | tuple):
        raise PromptError(f"tools is a {type(tools).__name__}; give a list of tools.")
    return list(tools)


def checked_tool(function: Mapping[str, Any], strict: bool | None = None) -> dict[str, Any]:
    """A tool in OpenAI's form, of a size that can be looked at.

    `OutputOptions.read` finds out whether its calls can be enforced, with all else of a call.

    Args:
        function: Name, description, parameters, and perhaps `strict`.
        strict: Whether every object in the parameters is closed to names that it does not list,
            and all of the parameters' schema has to be enforced while decoding.

    Raises:
        PromptError: The tool cannot be used, or its own `strict` differs from that of the call.
        UnsupportedGrammarError: Its parameters are too large.
    """
    function = dict(function)
    if strict is not None and function.setdefault("strict", strict) != strict:
        raise PromptError(
            f"The tool {function['name']!r} has strict={function['strict']!r}, and the call has "
            f"strict={strict!r}. Leave one of them out."
        )
    is_strict = function.get("strict") is True
    if is_strict and "parameters" in function:
        function["parameters"] = strict_schema(function["parameters"])
    tool = {"type": "function", "function": function}
    _ = check_of_tool(tool).size
    return tool


def check_tools(tools: Sequence[Mapping[str, Any]]) -> None:
    """Finds out whether calls of tools can be enforced, for tools that no call is made with.

    Not on an event loop, which it could hold up.

    Args:
        tools: The tools, from `checked_tool`.

    Raises:
        UnsupportedGrammarError: The parameters of one can be neither enforced nor checked.
    """
    for tool in tools:
        check_of_tool(tool).run(Deadline())


def check_of_tool(tool: Mapping[str, Any]) -> SchemaCheck:
    """What has to be found out about the schema of a tool in OpenAI's form."""
    function = tool["function"]
    return SchemaCheck(
        f"the tool {function['name']!r}",
        _to_tool(function).parameters,
        of_tool=True,
        strict=function.get("strict") is True,
    )


def unique_tools(tools: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The tools without those that are given twice, for example as a class and as its schema.

    Raises:
        PromptError: Two different tools have one name.
    """
    found: dict[str, dict[str, Any]] = {}
    for tool in tools:
        name = tool["function"]["name"]
        if _without_titles(found.setdefault(name, tool)) != _without_titles(tool):
            raise PromptError(
                f"Two tools have the name {name!r}, so a call could not tell which is meant. "
                "Give each tool a name of its own."
            )
    return list(found.values())


def to_openai_choice(choice: ToolChoice) -> str | dict[str, Any]:
    """Converts a choice to OpenAI's form: "auto", "required", "none", or a dict with a name.

    A name is written as it stands in the prompt; see `as_tool_name`.

    Raises:
        PromptError: The choice has none of the known forms.
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
        '{"type": "function", "function": {"name": ...}}.',
        param="tool_choice",
    )


def to_tool_use(
    tools: Sequence[dict[str, Any]], choice: ToolChoice = None, parallel: bool | None = None
) -> ToolUse | None:
    """Reads tools in OpenAI's form and the choice among them.

    Args:
        tools: The tools, from `checked_tool`.
        choice: The choice, in any form.
        parallel: Whether one answer may contain several calls; None allows it unless the answer
            has to be a call.

    Returns:
        The tools and the choice; None if there are no tools.

    Raises:
        PromptError: A tool cannot be used, or the choice names none of them.
    """
    chosen = to_openai_choice(choice)
    if not tools:
        if chosen in ("auto", "none"):  # it may be a dict
            return None
        raise PromptError(
            f"tool_choice={choice!r} wants a call, but there are no tools. Add some.",
            param="tool_choice",
        )
    read = tuple(_to_tool(tool["function"]) for tool in tools)
    if isinstance(chosen, str):
        return ToolUse(tools=read, choice=chosen, parallel=parallel)
    name = chosen["function"]["name"]
    return ToolUse(tools=read, choice="required", tool_name=name, parallel=parallel)


def wants_one_call(choice: ToolChoice) -> bool:
    """Whether a choice in Anthropic's form allows only one call."""
    return isinstance(choice, Mapping) and bool(choice.get("disable_parallel_tool_use"))


def new_call_id() -> str:
    """An id for a tool call, as OpenAI writes them."""
    return f"call_{uuid4().hex[:24]}"


def as_tool_name(name: str) -> str:
    """A class's name as the name of a tool: ``Box[int]`` becomes `Box_int_`."""
    return re.sub(r"[^a-zA-Z0-9_.-]", "_", name)[:64]


def _named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": as_tool_name(name)}}


def _to_tool(function: Mapping[str, Any]) -> Tool:
    known = {name: function[name] for name in ("description", "parameters") if function.get(name)}
    return Tool(name=function["name"], **known)


def _without_titles(schema: Any) -> Any:
    """A schema without titles, which only some libraries write."""
    if isinstance(schema, list):
        return [_without_titles(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: _without_titles(value)
        for name, value in schema.items()
        if not (name == "title" and isinstance(value, str))
    }
