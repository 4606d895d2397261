"""Structured output: how an answer is bound to a schema, and how it is read back."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Literal, get_args

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
from pydantic import BaseModel, SkipValidation, ValidationError
from pydantic.v1 import ValidationError as ValidationErrorV1

from amulet_integrations.errors import PromptError
from amulet_integrations.langchain.schemas import AnySchema, to_json_schema
from amulet_integrations.prompting.openai_compat.openai_tools import as_tool_name
from amulet_integrations.prompting.openai_compat.response_format import (
    json_object_format,
    json_schema_format,
)
from amulet_integrations.prompting.openai_compat.schemas import (
    is_pydantic,
    schema_name,
    strict_flag,
    strict_schema,
)

StructuredMethod = Literal["json_schema", "function_calling", "json_mode"]

# Half a pair of surrogates is unfinished as well; escaped backslashes before it are not.
_UNFINISHED_ESCAPE = re.compile(
    r"(?<!\\)((?:\\\\)*)(?:\\u[dD][89abAB][0-9a-fA-F]{2})?(?:\\(?:u[0-9a-fA-F]{0,3})?)?\Z"
)


class StructuredOutput:
    """One way to get answers of a schema.

    Args:
        schema: What answers are; None, in JSON mode, is any object.
        method: How it is asked for.
        strict: Whether objects are closed to names that the schema does not list.

    Raises:
        PromptError: `method` is not one, or there is no schema.
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
        self._written = None if schema is None else to_json_schema(schema)
        self._method = method
        self._strict = strict_flag(schema) if strict is None else strict

    @property
    def tools(self) -> list[dict[str, Any]]:
        """The tool that the answer is to call; none but for function calling."""
        if self._written is None or self._method != "function_calling":
            return []
        parameters = dict(self._written)
        name = as_tool_name(schema_name(parameters))
        parameters.pop("title", None)
        about = str(parameters.pop("description", ""))
        if self._strict:
            parameters = strict_schema(parameters)
        return [{"name": name, "description": about, "parameters": parameters}]

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of a call that ask for the answer, and tell tracers of its schema."""
        given: dict[str, Any] = {}
        if self._method == "function_calling":
            given = {"tool_choice": "any", "parallel_tool_calls": False}
        elif self._method == "json_mode":
            given["response_format"] = json_object_format(self._written)
        elif self._written is not None:
            given["response_format"] = json_schema_format(self._written, self._strict)
        if self._written is None:
            return given
        titled = {**self._written, "title": schema_name(self._written)}
        traced = {
            "kwargs": {"method": self._method, "strict": self._strict},
            "schema": titled if isinstance(self._schema, Mapping) else self._schema,
        }
        return {**given, "ls_structured_output_format": traced}

    def read_from(
        self, llm: Runnable[LanguageModelInput, AIMessage], *, include_raw: bool
    ) -> Runnable[LanguageModelInput, Any]:
        """The model with a parser behind it.

        Args:
            llm: The model, bound to `tools` and `arguments`.
            include_raw: Whether the message and what was wrong with it are returned as well.
        """
        model = self._schema if is_pydantic(self._schema) else None
        parser = StructuredOutputParser(model=model, from_call=self._method == "function_calling")
        return llm | (RawOutputParser(parser=parser) if include_raw else parser)


class StructuredOutputParser(BaseCumulativeTransformOutputParser[Any]):
    """Reads the object that an answer is; an answer that breaks off is an error.

    While an answer streams, dicts grow, and instances of a model come once, at the end.

    Attributes:
        model: The Pydantic model that answers are instances of; None for dicts.
        from_call: Whether the object is the arguments of a call, and not the text.
    """

    model: SkipValidation[Any] = None
    from_call: bool = False

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        """Reads an answer.

        Args:
            result: The generations; the first counts.
            partial: Whether more of it may come.

        Returns:
            The object, or None where there is none yet, or where a tool was called instead.

        Raises:
            OutputParserException: The answer is no such object.
        """
        message = getattr(result[0], "message", None)
        is_growing = partial and getattr(message, "chunk_position", "last") != "last"
        if is_growing and self.model is not None:
            return None
        if is_growing:
            return _of_growing(_text_of_call(message) if self.from_call else _text_of(result[0]))
        found = self._of_call(message) if self.from_call else self._of_text(result[0])
        return found if found is None or self.model is None else self._instance(found)

    def parse(self, text: str) -> Any:
        """Reads an answer's text.

        Raises:
            OutputParserException: It is no object of the schema.
        """
        return self.parse_result([Generation(text=text)])

    def _of_call(self, message: BaseMessage | None) -> Any:
        calls = getattr(message, "tool_calls", None)
        if calls:
            return calls[0]["args"]
        text = "" if message is None else message.text
        raise OutputParserException("The answer calls no tool.", llm_output=text)

    def _of_text(self, generation: Generation) -> Any:
        if getattr(getattr(generation, "message", None), "tool_calls", None):
            return None
        text = _text_of(generation)
        try:
            return parse_json_markdown(text, parser=_read_whole)
        except ValueError as error:
            raise OutputParserException(
                f"The answer is not JSON: {error}", llm_output=text
            ) from error

    def _instance(self, found: Any) -> Any:
        try:
            if issubclass(self.model, BaseModel):
                return self.model.model_validate(found)
            return self.model.parse_obj(found)
        except (ValidationError, ValidationErrorV1) as error:
            raise OutputParserException(
                f"The answer is no {self.model.__name__}: {error}",
                llm_output=json.dumps(found, ensure_ascii=False),
            ) from error


class RawOutputParser(BaseTransformOutputParser[dict[str, Any]]):
    """Gives the message, the object that it holds, and what was wrong with it.

    Attributes:
        parser: Reads the object.
    """

    parser: StructuredOutputParser

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> dict[str, Any]:
        """Reads an answer; errors of parsing are part of what is returned."""
        found: dict[str, Any] = {"parsed": None, "parsing_error": None}
        try:
            found["parsed"] = self.parser.parse_result(result, partial=partial)
        except OutputParserException as error:
            found["parsing_error"] = error
        return {"raw": getattr(result[0], "message", result[0].text), **found}

    def parse(self, text: str) -> dict[str, Any]:
        """Reads an answer's text."""
        return self.parse_result([Generation(text=text)])

    def _transform(self, input: Iterator[str | BaseMessage]) -> Iterator[dict[str, Any]]:  # noqa: A002
        growing = _Growing(self)
        for chunk in input:
            yield growing.with_next(chunk)

    async def _atransform(
        self,
        input: AsyncIterator[str | BaseMessage],  # noqa: A002
    ) -> AsyncIterator[dict[str, Any]]:
        growing = _Growing(self)
        async for chunk in input:
            yield growing.with_next(chunk)


class _Growing:
    """An answer as it streams, told in dicts that add up to what `invoke` returns."""

    def __init__(self, parser: RawOutputParser) -> None:
        self._parser = parser
        self._whole: Any = None
        self._told: Any = None

    def with_next(self, chunk: Any) -> _Part:
        self._whole = chunk if self._whole is None else self._whole + chunk
        found = self._parser.parse_result([ChatGeneration(message=self._whole)], partial=True)
        news = _Part(raw=chunk)
        is_last = getattr(chunk, "chunk_position", "last") == "last"
        if is_last or found["parsed"] != self._told:
            news["parsed"] = self._told = found["parsed"]
        if is_last:
            news["parsing_error"] = found["parsing_error"]
        return news


class _Part(AddableDict):
    """Messages add up; of all else the last counts, as each object holds those before it."""

    def __add__(self, other: AddableDict) -> _Part:
        return _Part({**self, **other, "raw": self["raw"] + other["raw"]})


def _text_of(generation: Generation) -> str:
    message = getattr(generation, "message", None)
    return generation.text if message is None else message.text


def _text_of_call(message: BaseMessage | None) -> str:
    """The arguments of the first call, as far as they have come."""
    parts = getattr(message, "tool_call_chunks", None)
    return (parts[0]["args"] or "") if parts else ""


def _of_growing(text: str) -> Any:
    """What can be read of JSON that breaks off; None where that is nothing yet."""
    try:
        return parse_json_markdown(text, parser=_read_beginning)
    except ValueError:
        return None


def _read_beginning(text: str) -> Any:
    # LangChain's parser mends what breaks off, but for escapes, whose whole string it would drop.
    return parse_partial_json(_UNFINISHED_ESCAPE.sub(r"\1", text))


def _read_whole(text: str) -> Any:
    return json.loads(text, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON's.")
