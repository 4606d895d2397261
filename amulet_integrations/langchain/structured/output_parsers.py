"""Parses answers into objects, while they stream as well."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial as with_arguments
from typing import Any, TypeVar

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import BaseMessage
from langchain_core.output_parsers.transform import (
    BaseCumulativeTransformOutputParser,
    BaseTransformOutputParser,
)
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.runnables import AddableDict
from pydantic import SkipValidation

from amulet_integrations.concurrency.deadline import Deadline
from amulet_integrations.concurrency.fair_threads import REQUEST_THREADS
from amulet_integrations.prompting.json_schema.finished_values import fault_of
from amulet_integrations.prompting.json_schema.object_types import ObjectType

from .answer_json import parse_partial, parse_whole

T = TypeVar("T")


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
            return parse_partial(_call_text(message) if self.from_call else result[0].text)
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
            return parse_whole(generation.text)
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
