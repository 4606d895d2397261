"""Structured output: objects of a Pydantic model, enforced while decoding."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.instrumentation.events.llm import (
    LLMStructuredPredictEndEvent,
    LLMStructuredPredictInProgressEvent,
    LLMStructuredPredictStartEvent,
)
from llama_index.core.llms.llm import LLM
from llama_index.core.program.utils import FlexibleModel, create_flexible_model
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.types import Model, PydanticProgramMode
from llama_index_instrumentation import get_dispatcher
from pydantic import BaseModel, ValidationError

from amulet_integrations.concurrency.bind_context import (
    bind_async_iterator,
    bind_coroutine,
    bind_iterator,
)
from amulet_integrations.errors import PromptError, StructuredOutputError
from amulet_integrations.prompting.json_schema.object_types import type_label
from amulet_integrations.prompting.openai_compat.response_format import json_object_format

from .client_llm import ClientLLM
from .instrumentation import call_in_span
from .llm_call import writes_whole_prompts
from .predictions import bind_preferences
from .streaming import Coro, aflat_map, flat_map, map_awaited, parse_partial_object

T = TypeVar("T")
Objects = Generator[Model | FlexibleModel, None, None]
AsyncObjects = AsyncGenerator[Model | FlexibleModel, None]

_dispatcher = get_dispatcher(__name__)

# LlamaIndex's programs set these themselves, whatever the caller passes.
_SET_BY_PROGRAMS = {"tool_required", "tool_choice", "allow_parallel_tool_calls"}


def check_output_class(output_cls: object) -> None:
    """Refuses what LlamaIndex's predictions cannot return.

    Raises:
        PromptError: `output_cls` is not a Pydantic model of version 2.
    """
    if not (isinstance(output_cls, type) and issubclass(output_cls, BaseModel)):
        raise PromptError(
            f"output_cls={type_label(output_cls)} is no Pydantic model, which is what LlamaIndex "
            "predicts. Write a class of the same fields: class Answer(BaseModel): ... For another "
            "value, such as a list, give the class one field of that type."
        )


class ObjectReader(Generic[Model]):
    """Reads one answer as an instance of a Pydantic model.

    Args:
        output_cls: The Pydantic model.
    """

    def __init__(self, output_cls: type[Model]) -> None:
        self._output_cls = output_cls
        self._partial_cls = create_flexible_model(output_cls)
        self._fields: dict[str, Any] = {}

    def read(self, response: ChatResponse) -> Model:
        """Returns the object of a whole answer.

        Raises:
            StructuredOutputError: The model's own validators refuse it.
        """
        try:
            return self._output_cls.model_validate_json(response.message.content or "")
        except ValidationError as error:
            reasons = "; ".join(
                f"{'.'.join(map(str, reason['loc'])) or 'all of it'}: {reason['msg']}"
                for reason in error.errors(include_input=False, include_url=False)
            )
            raise StructuredOutputError(
                f"The answer follows the schema of {self._output_cls.__name__}, but its validators "
                f"refuse it ({reasons}). Say in the schema what they ask for, or ask again."
            ) from error

    def read_partial(self, response: ChatResponse) -> Model | FlexibleModel | None:
        """Returns the object so far, and at last the whole one; None where nothing is new.

        Fields that have not come yet are None. What does not validate yet is a `FlexibleModel`.
        """
        if response.raw is not None:
            return self.read(response)
        found = parse_partial_object(response.message.content or "", self._fields)
        if found == self._fields:
            return None
        self._fields = found
        try:
            return self._output_cls.model_validate(found)
        except ValidationError:
            return self._partial_cls.model_validate(found)


@dataclass(frozen=True, kw_only=True)
class StructuredPrediction(Generic[Model]):
    """One prediction of an object, with LlamaIndex's events of it.

    In `pydantic_program_mode` "default" the answer of a chat is the object. In the other modes
    LlamaIndex's own programs predict it.

    Attributes:
        llm: The model, with the arguments of the call bound to it.
        output_cls: The Pydantic model of the object.
        prompt: The prompt.
        prompt_args: The values of the prompt's variables.
    """

    llm: ClientLLM
    output_cls: type[Model]
    prompt: BasePromptTemplate
    prompt_args: Mapping[str, Any]

    @classmethod
    def prepare(
        cls,
        llm: ClientLLM,
        output_cls: type[Model],
        prompt: BasePromptTemplate,
        llm_kwargs: Mapping[str, Any] | None,
        prompt_args: Mapping[str, Any],
    ) -> StructuredPrediction[Model]:
        """Binds a call's arguments to the model.

        Raises:
            PromptError: `output_cls` is not a Pydantic model, `prompt` is not a prompt template, or
                `llm_kwargs` has a response format.
        """
        check_output_class(output_cls)
        arguments = dict(llm_kwargs or {})
        if "response_format" in arguments:
            raise PromptError(
                "response_format= is what output_cls says already; leave it out of llm_kwargs."
            )
        llm, prompt_args = bind_preferences(llm, prompt_args, prompt)
        mode = llm.pydantic_program_mode
        if mode == PydanticProgramMode.DEFAULT:
            arguments["response_format"] = output_cls
        else:
            prompt = prompt.model_copy()  # programs change it
            if mode == PydanticProgramMode.LLM and not writes_whole_prompts(llm):
                arguments["response_format"] = json_object_format(output_cls)
        for name in _SET_BY_PROGRAMS:
            arguments.pop(name, None)
        return cls(
            llm=llm.bind_arguments(arguments),
            output_cls=output_cls,
            prompt=prompt,
            prompt_args=prompt_args,
        )

    def predict(self) -> Model:
        """Predicts the object."""
        if self._uses_program:
            predicted: Model = self._run_program(LLM.structured_predict)
            return predicted

        def answer(*_: Any, **__: Any) -> Model:
            self._start()
            return self._finish(self.llm.chat(self._messages()))

        return self._in_span("structured_predict", answer)

    def apredict(self) -> Coro[Model]:
        """As `predict`, for asyncio."""
        if self._uses_program:
            return bind_coroutine(self._run_program(LLM.astructured_predict))
        response = self.llm.achat(self._messages())

        async def answer(*_: Any, **__: Any) -> Model:
            self._start()
            return self._finish(await response)

        return self._in_span("astructured_predict", answer)

    def stream(self) -> Objects[Model]:
        """Yields the object as it grows, and at last whole."""
        if self._uses_program:
            return bind_iterator(self._run_program(LLM.stream_structured_predict))
        responses = self.llm.stream_chat(self._messages())

        def answer(*_: Any, **__: Any) -> Objects[Model]:
            self._start()
            return flat_map(responses, self._object_reader())

        return self._in_span("stream_structured_predict", answer)

    def astream(self) -> Coro[AsyncObjects[Model]]:
        """As `stream`, for asyncio."""
        if self._uses_program:
            opening = self._run_program(LLM.astream_structured_predict)
            return bind_coroutine(map_awaited(opening, bind_async_iterator))
        responses = self.llm.astream_chat(self._messages())

        async def answer(*_: Any, **__: Any) -> AsyncObjects[Model]:
            self._start()
            return aflat_map(await responses, self._object_reader())

        return self._in_span("astream_structured_predict", answer)

    @property
    def _uses_program(self) -> bool:
        return self.llm.pydantic_program_mode != PydanticProgramMode.DEFAULT

    def _run_program(self, method: Callable[..., T]) -> T:
        return method(self.llm, self.output_cls, self.prompt, **self.prompt_args)

    def _messages(self) -> list[ChatMessage]:
        messages = self.prompt.format_messages(llm=self.llm, **self.prompt_args)
        return self.llm._extend_messages(messages)  # noqa: SLF001 - LlamaIndex's programs do

    def _in_span(self, name: str, answer: Callable[..., T]) -> T:
        return call_in_span(
            self.llm, name, answer, (self.output_cls, self.prompt), self.prompt_args
        )

    def _start(self) -> None:
        _dispatcher.event(
            LLMStructuredPredictStartEvent(
                output_cls=self.output_cls,
                template=self.prompt,
                template_args=dict(self.prompt_args),
            )
        )

    def _finish(self, response: ChatResponse) -> Model:
        found = ObjectReader(self.output_cls).read(response)
        _dispatcher.event(LLMStructuredPredictEndEvent(output=found))
        return found

    def _object_reader(self) -> Callable[[ChatResponse], list[Model | FlexibleModel]]:
        """Makes the function that reads the responses of a stream, and fires the events."""
        reader = ObjectReader(self.output_cls)

        def read(response: ChatResponse) -> list[Model | FlexibleModel]:
            found = reader.read_partial(response)
            if found is None:
                return []
            is_last = response.raw is not None
            event = LLMStructuredPredictEndEvent if is_last else LLMStructuredPredictInProgressEvent
            _dispatcher.event(event(output=found))
            return [found]

        return read
