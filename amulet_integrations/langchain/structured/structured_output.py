"""One way to get answers of a schema: the arguments of its calls, and the parser behind it."""

from __future__ import annotations

from typing import Any, Literal, get_args

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable

from amulet_integrations.errors import PromptError
from amulet_integrations.langchain.tools import AnySchema, to_json_schema
from amulet_integrations.prompting.json_schema.object_types import is_pydantic, is_type
from amulet_integrations.prompting.openai_compat.openai_tools import as_tool_name
from amulet_integrations.prompting.openai_compat.response_format import (
    checked_by_caller,
    json_object_format,
    json_schema_format,
)
from amulet_integrations.prompting.openai_compat.schemas import schema_name, strict_flag

from .output_parsers import RawOutputParser, StructuredOutputParser

StructuredMethod = Literal["json_schema", "function_calling", "json_mode"]


class StructuredOutput:
    """One way to get answers of a schema.

    Args:
        schema: The schema of the answers; None, in JSON mode, for any object.
        method: How the model is made to follow it.
        strict: Whether every object is closed to names that the schema does not list.

    Raises:
        PromptError: `method` is unknown, or there is no schema.
    """

    def __init__(
        self, schema: AnySchema | None, method: StructuredMethod, strict: bool | None = None
    ) -> None:
        if method not in get_args(StructuredMethod):
            raise PromptError(
                f"method={method!r} is not one. Use 'json_schema', 'function_calling' or "
                "'json_mode'."
            )
        if schema is None and method != "json_mode":
            raise PromptError(
                f"method={method!r} needs a schema. Give one, or use method='json_mode' for any "
                "JSON object."
            )
        self._schema = schema
        self._json_schema = None if schema is None else to_json_schema(schema)
        self._method = method
        self._strict = strict_flag(schema) if strict is None else strict

    @property
    def tools(self) -> list[dict[str, Any]]:
        """The tool that the answer has to call; only for function calling."""
        if self._json_schema is None or self._method != "function_calling":
            return []
        parameters = dict(self._json_schema)
        name = as_tool_name(schema_name(parameters))
        parameters.pop("title", None)
        description = str(parameters.pop("description", ""))
        tool = {"name": name, "description": description, "parameters": parameters}
        return [{**tool, "strict": True} if self._strict else tool]

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of a call that enforce the schema, and that show it to tracers."""
        arguments: dict[str, Any] = {}
        if self._method == "function_calling":
            arguments = {"tool_choice": "any", "parallel_tool_calls": False}
        else:
            # The parser checks answers, so that `include_raw` has the message in any case.
            arguments["response_format"] = checked_by_caller(self._response_format)
        if self._json_schema is None:
            return arguments
        titled = {**self._json_schema, "title": schema_name(self._json_schema)}
        traced = {
            "kwargs": {"method": self._method, "strict": self._strict},
            "schema": self._schema if is_pydantic(self._schema) else titled,
        }
        return {**arguments, "ls_structured_output_format": traced}

    def arguments_beside(self, given: dict[str, Any], *, has_tools: bool) -> dict[str, Any]:
        """Other arguments of a call with `arguments` among them.

        Args:
            given: The other arguments.
            has_tools: Whether there are tools that the answer may call instead.

        Raises:
            PromptError: The method sets one of them itself, or goes with no tools.
        """
        if has_tools and self._method != "json_schema":
            raise PromptError(
                'tools=, given or bound, goes with method="json_schema" only, not '
                f"{self._method!r}. Use that method, or a model without tools."
            )
        own = self.arguments
        if taken := sorted(name for name in own if given.get(name, own[name]) != own[name]):
            raise PromptError(
                f"{taken[0]}= is set by with_structured_output(method={self._method!r}) itself; "
                "leave it out, or unbound, or use bind_tools."
            )
        return {**given, **own}

    @property
    def _response_format(self) -> dict[str, Any]:
        if self._method == "json_schema" and self._json_schema is not None:
            return json_schema_format(self._json_schema, self._strict)
        return json_object_format(self._json_schema)

    def parse_answers_of(
        self, llm: Runnable[LanguageModelInput, AIMessage], *, include_raw: bool
    ) -> Runnable[LanguageModelInput, Any]:
        """The model with a parser behind it.

        Args:
            llm: The model, bound to `tools` and `arguments`.
            include_raw: Whether the message and the parsing error are returned as well.
        """
        model = self._schema if is_type(self._schema) else None
        parser = StructuredOutputParser(
            model=model,
            json_schema=self._json_schema,
            from_call=self._method == "function_calling",
        )
        return llm | (RawOutputParser(parser=parser) if include_raw else parser)
