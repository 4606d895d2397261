"""Structured output: objects of a schema, enforced while decoding."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping
from contextlib import aclosing, closing
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, cast

from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.instrumentation.events.llm import (
    LLMStructuredPredictEndEvent,
    LLMStructuredPredictInProgressEvent,
    LLMStructuredPredictStartEvent,
)
from llama_index.core.program.utils import FlexibleModel
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.types import Model, PydanticProgramMode
from llama_index_instrumentation import get_dispatcher
from pydantic import BaseModel

from amulet_integrations.bind_context import (
    bind_async_iterator,
    bind_coroutine,
    bind_iterator,
)
from amulet_integrations.errors import PromptError
from amulet_integrations.llama_index.function_calling import ToolCallingLLM
from amulet_integrations.llama_index.objects import ObjectReader
from amulet_integrations.llama_index.predictions import (
    not_taken_for_an_answer,
    told_apart,
    variables_of,
)
from amulet_integrations.llama_index.spans import in_span, opens_own_span
from amulet_integrations.llama_index.structured_llm import AmuletStructuredLLM

_dispatcher = get_dispatcher(__name__)

# LlamaIndex's programs settle these, whatever they are told.
_OF_PROGRAMS = {"tool_required", "tool_choice", "allow_parallel_tool_calls"}


class StructuredOutputLLM(ToolCallingLLM):
    """Predictions of objects: JSON that follows the schema, with any model.

    The model is told the schema in the system text. Preferences are in the prompt while JSON is
    written; `steer_strings` steers the text in its strings as prose is steered.

    That is so in `pydantic_program_mode` "default". The modes "function" and "llm" go through
    LlamaIndex's own programs, with answers that are enforced as well.
    """

    @opens_own_span
    def structured_predict(
        self,
        output_cls: type[Model],
        prompt: BasePromptTemplate,
        llm_kwargs: Mapping[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Model:
        """Predicts an object.

        Args:
            output_cls: The Pydantic model that it is an instance of.
            prompt: What is asked.
            llm_kwargs: Arguments of the call; see `AmuletLLM`.
            **prompt_args: What the prompt is filled in with.

        Raises:
            StructuredOutputError: The model's own validators refuse what follows its schema.
            AnswerError: The call cannot be followed, for example because the schema cannot be
                enforced while decoding; the cause is the error proper.
            GenerationError: Decoding failed.
        """
        with not_taken_for_an_answer():
            asking = self._asking(output_cls, prompt, llm_kwargs, prompt_args)
            if programs := asking.programs:
                predicted: Model = programs.structured_predict(
                    output_cls, asking.prompt, **asking.prompt_args
                )
                return predicted

            def predict(*_: Any, **_shown: Any) -> Model:
                asking.start()
                return asking.end(asking.llm.chat(asking.messages, **asking.arguments))

            found: Model = asking.in_span("structured_predict", predict)
            return found

    @opens_own_span
    def astructured_predict(
        self,
        output_cls: type[Model],
        prompt: BasePromptTemplate,
        llm_kwargs: Mapping[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Coroutine[Any, Any, Model]:
        """As `structured_predict`, without blocking the event loop."""
        with not_taken_for_an_answer():
            asking = self._asking(output_cls, prompt, llm_kwargs, prompt_args)
            if programs := asking.programs:
                predicted = programs.astructured_predict(
                    output_cls, asking.prompt, **asking.prompt_args
                )
                return bind_coroutine(told_apart(self._loaded(predicted)))
            response = asking.llm.achat(asking.messages, **asking.arguments)

        async def predict(*_: Any, **_shown: Any) -> Model:
            asking.start()
            with not_taken_for_an_answer():
                return asking.end(await response)

        found: Coroutine[Any, Any, Model] = asking.in_span("astructured_predict", predict)
        return found

    @opens_own_span
    @not_taken_for_an_answer()
    def stream_structured_predict(
        self,
        output_cls: type[Model],
        prompt: BasePromptTemplate,
        llm_kwargs: Mapping[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Generator[Model | FlexibleModel, None, None]:
        """As `structured_predict`: the object as it grows, and at last whole.

        Fields that have not come yet are None; an object that does not validate yet is a
        `FlexibleModel` of LlamaIndex's.
        """
        asking = self._asking(output_cls, prompt, llm_kwargs, prompt_args)
        if programs := asking.programs:
            objects = programs.stream_structured_predict(
                output_cls, asking.prompt, **asking.prompt_args
            )
            return bind_iterator(objects)
        responses = asking.llm.stream_chat(asking.messages, **asking.arguments)

        def predict(*_: Any, **_shown: Any) -> Generator[Model | FlexibleModel, None, None]:
            asking.start()
            return asking.objects(responses)

        opened: Generator[Model | FlexibleModel, None, None] = asking.in_span(
            "stream_structured_predict", predict
        )
        return opened

    @opens_own_span
    @not_taken_for_an_answer()
    def astream_structured_predict(
        self,
        output_cls: type[Model],
        prompt: BasePromptTemplate,
        llm_kwargs: Mapping[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Coroutine[Any, Any, AsyncGenerator[Model | FlexibleModel, None]]:
        """As `stream_structured_predict`, without blocking the event loop."""
        asking = self._asking(output_cls, prompt, llm_kwargs, prompt_args)
        if programs := asking.programs:
            opening = programs.astream_structured_predict(
                output_cls, asking.prompt, **asking.prompt_args
            )
            return bind_coroutine(self._tied(opening))
        responses = asking.llm.astream_chat(asking.messages, **asking.arguments)

        async def predict(*_: Any, **_shown: Any) -> AsyncGenerator[Model | FlexibleModel, None]:
            asking.start()
            return asking.aobjects(await told_apart(responses))

        opened: Coroutine[Any, Any, AsyncGenerator[Model | FlexibleModel, None]] = asking.in_span(
            "astream_structured_predict", predict
        )
        return opened

    def as_structured_llm(self, output_cls: type[BaseModel], **kwargs: Any) -> AmuletStructuredLLM:
        """A model whose every answer is an object, for query engines and the like.

        Args:
            output_cls: The Pydantic model whose instances answers are; they are in `raw`.
            **kwargs: Fields of LlamaIndex's `StructuredLLM`.
        """
        return AmuletStructuredLLM(llm=self, output_cls=output_cls, **kwargs)

    def _asking(
        self,
        output_cls: type[Model],
        prompt: BasePromptTemplate,
        llm_kwargs: Mapping[str, Any] | None,
        prompt_args: dict[str, Any],
    ) -> _Asking[Model]:
        given = dict(llm_kwargs or {})
        if "response_format" in given:
            raise PromptError(
                "response_format= is what output_cls says already; leave it out of llm_kwargs."
            )
        llm, filled = self.named_by(prompt_args, variables_of(prompt))
        arguments = {name: value for name, value in given.items() if name not in _OF_PROGRAMS}
        programs = None
        if self.pydantic_program_mode != PydanticProgramMode.DEFAULT:
            # The base class's methods use LlamaIndex's programs, which change the prompt; their
            # spans are shown no arguments of a copy that has them already.
            prompt = prompt.model_copy()
            copy = llm._binding(**arguments)  # noqa: SLF001 - of this class
            programs = cast("ToolCallingLLM", super(StructuredOutputLLM, copy))
        return _Asking(llm, programs, output_cls, prompt, filled, arguments)

    async def _tied(
        self, opening: Coroutine[Any, Any, AsyncGenerator[Any, None]]
    ) -> AsyncGenerator[Any, None]:
        return bind_async_iterator(await self._loaded(opening))


@dataclass(frozen=True)
class _Asking(Generic[Model]):
    """One prediction, and LlamaIndex's events of it.

    Attributes:
        llm: Who is asked.
        programs: Who is asked instead, where LlamaIndex's programs are wanted.
        output_cls: What the answer is an instance of.
        prompt: What is asked.
        prompt_args: What the prompt is filled in with.
        llm_kwargs: Arguments of the call.
    """

    llm: StructuredOutputLLM
    programs: ToolCallingLLM | None
    output_cls: type[Model]
    prompt: BasePromptTemplate
    prompt_args: dict[str, Any]
    llm_kwargs: dict[str, Any]

    @cached_property
    def messages(self) -> list[ChatMessage]:
        messages = self.prompt.format_messages(llm=self.llm, **self.prompt_args)
        return self.llm._extend_messages(messages)  # noqa: SLF001 - LlamaIndex's own programs do

    @cached_property
    def arguments(self) -> dict[str, Any]:
        return {**self.llm_kwargs, "response_format": self.output_cls}

    @cached_property
    def reader(self) -> ObjectReader[Model]:
        return ObjectReader(self.output_cls)

    def in_span(self, name: str, predict: Callable[..., Any]) -> Any:
        return in_span(self.llm, name, predict, (self.output_cls, self.prompt), self.prompt_args)

    def start(self) -> None:
        _dispatcher.event(
            LLMStructuredPredictStartEvent(
                output_cls=self.output_cls, template=self.prompt, template_args=self.prompt_args
            )
        )

    def end(self, response: ChatResponse) -> Model:
        found = self.reader.whole(response)
        _dispatcher.event(LLMStructuredPredictEndEvent(output=found))
        return found

    def objects(
        self, responses: Generator[ChatResponse, None, None]
    ) -> Generator[Model | FlexibleModel, None, None]:
        with closing(responses):
            for response in responses:
                yield from self._news(response)

    async def aobjects(
        self, responses: AsyncGenerator[ChatResponse, None]
    ) -> AsyncGenerator[Model | FlexibleModel, None]:
        async with aclosing(responses):
            async for response in responses:
                for found in self._news(response):
                    yield found

    def _news(self, response: ChatResponse) -> list[Model | FlexibleModel]:
        if response.raw is not None:  # the last one
            return [self.end(response)]
        found = self.reader.growing(response)
        if found is None:
            return []
        _dispatcher.event(LLMStructuredPredictInProgressEvent(output=found))
        return [found]
