"""Structured output: how an answer is bound to a schema, and how it is read back."""

from __future__ import annotations

import json
import re
from operator import itemgetter
from typing import Any, Literal, get_args

from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.output_parsers.transform import BaseCumulativeTransformOutputParser
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.utils.json import parse_json_markdown, parse_partial_json
from pydantic import BaseModel, SkipValidation, ValidationError
from pydantic.v1 import ValidationError as ValidationErrorV1

from amulet_integrations.errors import PromptError
from amulet_integrations.langchain.schemas import (
    AnySchema,
    is_pydantic,
    json_object_format,
    json_schema_format,
    titled,
    to_json_schema,
)

StructuredMethod = Literal["json_schema", "function_calling", "json_mode"]


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
        self._method = method
        self._strict = strict

    @property
    def tools(self) -> list[dict[str, Any]]:
        """The tool that the answer is to call; none but for function calling."""
        if self._schema is None or self._method != "function_calling":
            return []
        parameters = to_json_schema(titled(self._schema))
        # Names of classes may hold what names of tools may not.
        name = re.sub(r"[^a-zA-Z0-9_.-]", "_", str(parameters.pop("title")))[:64]
        about = str(parameters.pop("description", ""))
        return [{"name": name, "description": about, "parameters": parameters}]

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of a call that ask for the answer, and tell tracers of its schema."""
        given: dict[str, Any] = {}
        if self._method == "function_calling":
            given = {"tool_choice": "any", "parallel_tool_calls": False}
        elif self._method == "json_mode":
            given["response_format"] = json_object_format(self._schema)
        elif self._schema is not None:
            given["response_format"] = json_schema_format(self._schema, self._strict)
        if self._schema is None:
            return given
        traced = {
            "kwargs": {"method": self._method, "strict": self._strict},
            "schema": titled(self._schema),
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
        if not include_raw:
            return llm | parser
        parsed = RunnablePassthrough.assign(
            parsed=itemgetter("raw") | parser, parsing_error=lambda _: None
        )
        failed = RunnablePassthrough.assign(parsed=lambda _: None)
        read = parsed.with_fallbacks([failed], exception_key="parsing_error")
        return RunnableMap(raw=llm) | read


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
        found = self._of_call(message) if self.from_call else self._of_text(result[0], is_growing)
        if found is None or is_growing or self.model is None:
            return found
        return self._instance(found)

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
        if getattr(message, "chunk_position", "last") != "last":
            return None
        text = "" if message is None else message.text
        raise OutputParserException("The answer calls no tool.", llm_output=text)

    def _of_text(self, generation: Generation, is_growing: bool) -> Any:
        if getattr(getattr(generation, "message", None), "tool_calls", None):
            return None
        text = generation.text
        if isinstance(generation, ChatGeneration):
            text = generation.message.text
        try:
            # LangChain's own parser mends what breaks off, which only a growing answer may.
            read = parse_partial_json if is_growing else json.loads
            return parse_json_markdown(text, parser=read)
        except ValueError as error:
            if is_growing:
                return None
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
