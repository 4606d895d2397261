"""Structured output: binding a model to a schema, and reading its answers."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial as with_arguments
from typing import Any, Literal, TypeVar, get_args

from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.output_parsers.transform import (
    BaseCumulativeTransformOutputParser,
    BaseTransformOutputParser,
)
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.runnables import AddableDict, Runnable
from langchain_core.utils.json import parse_json_markdown, parse_partial_json
from pydantic import SkipValidation

from amulet_integrations.deadline import Deadline
from amulet_integrations.errors import PromptError
from amulet_integrations.fair_threads import REQUEST_THREADS
from amulet_integrations.prompting.json_schema.finished_values import fault_of
from amulet_integrations.prompting.json_schema.object_types import ObjectType, is_pydantic, is_type
from amulet_integrations.prompting.openai_compat.openai_tools import as_tool_name
from amulet_integrations.prompting.openai_compat.response_format import (
    checked_by_caller,
    json_object_format,
    json_schema_format,
)
from amulet_integrations.prompting.openai_compat.schemas import (
    schema_name,
    strict_flag,
)

from .tools import AnySchema, to_json_schema

T = TypeVar("T")

StructuredMethod = Literal["json_schema", "function_calling", "json_mode"]

# Also half a surrogate pair; an escaped backslash before it is complete.
_UNFINISHED_ESCAPE = re.compile(
    r"(?<!\\)((?:\\\\)*)(?:\\u[dD][89abAB][0-9a-fA-F]{2})?(?:\\(?:u[0-9a-fA-F]{0,3})?)?\Z"
)


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


class StructuredOutputParser(BaseCumulativeTransformOutputParser[Any]):
    """Parses answers into objects; an answer that breaks off is an error.

    While an answer streams, dicts grow; an instance of a class comes once, at the end.

    Attributes:
        model: The type that answers are read as; None for dicts as they are written.
        json_schema: The schema that answers are compared with, where a grammar cannot enforce all
            of it; None where there is no schema.
        from_call: Whether the object is in the arguments of a call and not in the text.
    """

    model: SkipValidation[Any] = None
    json_schema: dict[str, Any] | None = None
    from_call: bool = False

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        """Parses an answer.

        Args:
            result: The generations; only the first is used.
            partial: Whether the answer may still be streaming.

        Returns:
            The object, or None where there is none yet, or where a tool was called instead.

        Raises:
            OutputParserException: The answer does not follow the schema.
        """
        message = getattr(result[0], "message", None)
        is_growing = partial and not _is_whole(message)
        if is_growing and self.model is not None and not ObjectType.of(self.model).is_dict:
            return None
        if is_growing:
            return _parse_partial(_call_text(message) if self.from_call else result[0].text)
        found = self._parse_call(message) if self.from_call else self._parse_text(result[0])
        return None if found is None else self._checked(found)

    async def aparse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        """As `parse_result`, without blocking the event loop; a schema may take a second."""
        return await _on_thread(self.parse_result, result, is_partial=partial)

    def parse(self, text: str) -> Any:
        """Parses the text of an answer.

        Raises:
            OutputParserException: It does not follow the schema.
        """
        return self.parse_result([Generation(text=text)])

    def _parse_call(self, message: BaseMessage | None) -> Any:
        calls = getattr(message, "tool_calls", None)
        if calls:
            return calls[0]["args"]
        text = "" if message is None else message.text
        reason = "The answer calls no tool."
        for call in getattr(message, "invalid_tool_calls", None) or ():
            text = call["args"] or text
            reason = call["error"] or "The arguments of the call break off, or fail its schema."
        raise OutputParserException(reason, llm_output=text)

    def _parse_text(self, generation: Generation) -> Any:
        if getattr(getattr(generation, "message", None), "tool_calls", None):
            return None
        try:
            return parse_json_markdown(generation.text, parser=_load)
        except ValueError as error:
            raise OutputParserException(
                f"The answer is not JSON: {error}", llm_output=generation.text
            ) from error

    def _checked(self, found: Any) -> Any:
        text = json.dumps(found, ensure_ascii=False)
        if self.json_schema is not None and (fault := fault_of(self.json_schema, found)):
            raise OutputParserException(
                f"The answer does not follow its schema. {fault}", llm_output=text
            )
        if self.model is None:
            return found
        described = ObjectType.of(self.model)
        try:
            return described.read_json(text)
        except ValueError as error:  # the validation errors of pydantic are ValueErrors
            raise OutputParserException(
                f"The answer is no {described.name}: {error}", llm_output=text
            ) from error


class RawOutputParser(BaseTransformOutputParser[dict[str, Any]]):
    """Returns the message, the parsed object and the parsing error.

    Attributes:
        parser: Parses the object.
    """

    parser: StructuredOutputParser

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> dict[str, Any]:
        """Parses an answer; a parsing error is returned and not raised."""
        found: dict[str, Any] = {"parsed": None, "parsing_error": None}
        try:
            found["parsed"] = self.parser.parse_result(result, partial=partial)
        except OutputParserException as error:
            found["parsing_error"] = error
        return {"raw": getattr(result[0], "message", result[0].text), **found}

    async def aparse_result(
        self, result: list[Generation], *, partial: bool = False
    ) -> dict[str, Any]:
        """As `parse_result`, without blocking the event loop."""
        return await _on_thread(self.parse_result, result, is_partial=partial)

    def parse(self, text: str) -> dict[str, Any]:
        """Parses the text of an answer."""
        return self.parse_result([Generation(text=text)])

    def _transform(self, input: Iterator[str | BaseMessage]) -> Iterator[dict[str, Any]]:
        reader = _PartReader()
        for chunk in input:
            yield reader.part(chunk, self.parse_result(reader.added(chunk), partial=True))

    async def _atransform(
        self, input: AsyncIterator[str | BaseMessage]
    ) -> AsyncIterator[dict[str, Any]]:
        reader = _PartReader()
        async for chunk in input:
            yield reader.part(chunk, await self.aparse_result(reader.added(chunk), partial=True))


class _PartReader:
    """Reads one stream: its dicts add up to what `invoke` returns."""

    def __init__(self) -> None:
        self._message: Any = None
        self._parsed: Any = None

    def added(self, chunk: Any) -> list[Generation]:
        """The answer as far as it has come, with one chunk more."""
        self._message = chunk if self._message is None else self._message + chunk
        return [ChatGeneration(message=self._message)]

    def part(self, chunk: Any, found: dict[str, Any]) -> _Part:
        """What a chunk adds, where `found` was read from the answer so far."""
        part = _Part(raw=chunk)
        is_last = getattr(chunk, "chunk_position", "last") == "last"
        if is_last or found["parsed"] != self._parsed:
            part["parsed"] = self._parsed = found["parsed"]
        if is_last:
            part["parsing_error"] = found["parsing_error"]
        return part


class _Part(AddableDict):
    """Messages are added; of the other values the last counts, because it contains the earlier."""

    def __add__(self, other: AddableDict) -> _Part:
        return _Part({**self, **other, "raw": self["raw"] + other["raw"]})


async def _on_thread(parse: Callable[..., T], result: list[Generation], *, is_partial: bool) -> T:
    """What a parser makes of an answer, on a thread where the answer may be whole."""
    work = with_arguments(parse, result, partial=is_partial)
    if is_partial and not _is_whole(getattr(result[0], "message", None)):
        return work()
    return await REQUEST_THREADS.arun(work, deadline=Deadline())


def _is_whole(message: BaseMessage | None) -> bool:
    return getattr(message, "chunk_position", "last") == "last"


def _call_text(message: BaseMessage | None) -> str:
    """The arguments of the first call, as far as they have been written."""
    parts = getattr(message, "tool_call_chunks", None)
    return (parts[0]["args"] or "") if parts else ""


def _parse_partial(text: str) -> Any:
    """Parses JSON that breaks off; None where nothing can be read yet."""
    try:
        return parse_json_markdown(text, parser=_load_partial)
    except ValueError:
        return None


def _load_partial(text: str) -> Any:
    # LangChain's parser completes what breaks off, but drops strings that end in half an escape.
    return parse_partial_json(_UNFINISHED_ESCAPE.sub(r"\1", text))


def _load(text: str) -> Any:
    return json.loads(text, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number in JSON.")
