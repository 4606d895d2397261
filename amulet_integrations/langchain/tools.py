"""Tools and schemas as LangChain users give them, in OpenAI's form and as JSON schemas."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, cast

from langchain_core.tools import BaseTool, create_schema_from_function
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_core.utils.json_schema import dereference_refs

from amulet_integrations.errors import PromptError
from amulet_integrations.prompting.json_schema.annotations.modern_types import modern_hints
from amulet_integrations.prompting.json_schema.object_types import (
    is_type,
    type_label,
    without_unique_items,
)
from amulet_integrations.prompting.json_schema.references import recursive_references, resolve
from amulet_integrations.prompting.openai_compat import schemas
from amulet_integrations.prompting.openai_compat.openai_tools import (
    as_tool_name,
    checked_tool,
    tool_list,
    unique_tools,
)

AnySchema = Mapping[str, Any] | type | Callable[..., Any] | BaseTool
AnyTool = Mapping[str, Any] | type | Callable[..., Any] | BaseTool

# The types of dicts that describe functions; all others are tools that a provider runs itself.
_FUNCTION_TYPES = (None, "function", "object", "custom")


def to_openai_tools(tools: Sequence[AnyTool], strict: bool | None = None) -> list[dict[str, Any]]:
    """Converts tools of any form to OpenAI's form, which is plain JSON.

    Args:
        tools: Functions, LangChain tools, types (Pydantic models, dataclasses, NamedTuples,
            TypedDicts), or dicts in the form of OpenAI, Anthropic or Bedrock, or JSON schemas with
            a title.
        strict: Whether every object in the parameters is closed to names that it does not list.

    Raises:
        PromptError: A tool describes no function, or two different tools have one name.
        UnsupportedGrammarError: A schema is too large.
    """
    return unique_tools([_to_openai_tool(tool, strict) for tool in tool_list(tools)])


def to_json_schema(schema: AnySchema) -> dict[str, Any]:
    """The JSON schema of a type, of a dict that is or contains one, or of a function's arguments.

    Args:
        schema: A type may be a Pydantic model, a dataclass, a NamedTuple or a TypedDict. A dict may
            be a JSON schema, with or without a title, a function in the form of OpenAI or
            Anthropic, or the content of an OpenAI response format.

    Raises:
        PromptError: It is none of these.
    """
    if not (isinstance(schema, BaseTool) or inspect.isroutine(schema)):
        return schemas.to_json_schema(schema)
    try:
        function = _python_function(schema)
        if function is not None:
            named = {"title": function["name"], "description": function["description"]}
            return {**named, **function["parameters"]}
        written = convert_to_json_schema(schema)
    except PromptError:
        raise
    except Exception as error:  # annotations that pydantic cannot convert raise any error
        raise PromptError(f"{type_label(schema)} has no JSON schema: {error}") from error
    return cast("dict[str, Any]", without_unique_items(written))


def _to_openai_tool(tool: AnyTool, strict: bool | None) -> dict[str, Any]:
    if isinstance(tool, Mapping) and tool.get("type") not in _FUNCTION_TYPES:
        raise PromptError(
            f"A tool of type {tool.get('type')!r} is one that a provider runs on its own servers. "
            "Give a function, a LangChain tool, or the schema of one."
        )
    try:
        function = _python_function(tool) or convert_to_openai_tool(tool).get("function")
    except PromptError:
        raise
    except Exception as error:  # the annotations of somebody's function may raise anything
        raise PromptError(f"{_shown(tool)} cannot be used as a tool: {error}") from error
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise PromptError(f"{_shown(tool)} cannot be used as a tool: it has no function's name.")
    # LangChain's own strictness removes the properties of objects that are given by reference.
    return checked_tool(function, strict)


def _python_function(tool: AnyTool) -> dict[str, Any] | None:
    """The function of a tool with a Python type for its arguments; None for other tools.

    It is as LangChain writes it, but for recursive types, which LangChain breaks off.
    """
    if is_type(tool):
        schema = _with_own_properties(schemas.to_json_schema(tool))
        name, description = as_tool_name(schema["title"]), schema.get("description", "")
    elif isinstance(tool, BaseTool) and tool.args_schema is not None:
        arguments = tool.tool_call_schema
        if isinstance(arguments, dict):
            return None
        schema = _with_own_properties(schemas.to_json_schema(arguments))
        name, description = tool.name, tool.description or schema.get("description", "")
    elif inspect.isroutine(tool):
        typed = _with_modern_hints(tool)
        arguments = create_schema_from_function(
            tool.__name__, typed, filter_args=(), parse_docstring=True, include_injected=False
        )
        schema = schemas.to_json_schema(arguments)
        name, description = tool.__name__, arguments.__doc__ or ""
    else:
        return None
    return {"name": name, "description": description, "parameters": _parameters(schema)}


def _with_modern_hints(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of the same signature, whose types pydantic takes in all versions of Python."""
    hints = modern_hints(function)
    signature = inspect.signature(function)
    parameters = [
        it.replace(annotation=hints.get(name, it.annotation))
        for name, it in signature.parameters.items()
    ]

    @wraps(function)
    def typed(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    typed.__annotations__ = {name: hints[name] for name in signature.parameters if name in hints}
    vars(typed)["__signature__"] = signature.replace(parameters=parameters)
    return typed


def _with_own_properties(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a type that contains itself has its properties only in what it refers to."""
    if "$ref" not in schema:
        return schema
    own = {key: value for key, value in schema.items() if key != "$ref"}
    return {**resolve(schema, schema["$ref"]), **own}


def _parameters(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without titles, and without references unless it is recursive."""
    if not recursive_references(schema):
        schema = dereference_refs(schema)
        schema = {key: schema[key] for key in schema if key not in {"$defs", "definitions"}}
    parameters = {key: schema[key] for key in schema if key not in {"title", "description"}}
    return _without_titles(parameters)


def _without_titles(schema: dict[str, Any]) -> dict[str, Any]:
    """As LangChain writes tools: titles stay in lists, where they name the entries of tuples."""
    return {
        key: _without_titles(value) if isinstance(value, dict) else value
        for key, value in schema.items()
        if not (key == "title" and isinstance(value, str))
    }


def _shown(tool: AnyTool) -> str:
    name = getattr(tool, "name", None) or getattr(tool, "__name__", None)
    return repr(name) if name else f"{str(tool)[:80]}"
