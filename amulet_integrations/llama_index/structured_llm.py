"""A model whose every answer is an object."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine, Generator, Sequence
from contextlib import aclosing, closing
from typing import Any, Self

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
)
from llama_index.core.llms.structured_llm import StructuredLLM
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.types import TokenAsyncGen, TokenGen
from pydantic import BaseModel

from amulet_integrations.bind_context import bind_coroutine
from amulet_integrations.errors import PromptError
from amulet_integrations.llama_index.objects import ObjectReader
from amulet_integrations.llama_index.predictions import (
    not_taken_for_an_answer,
    told_apart,
    variables_of,
)
from amulet_integrations.llama_index.spans import opens_own_span


class AmuletStructuredLLM(StructuredLLM):
    """What `AmuletLLM.as_structured_llm` gives.

    Unlike LlamaIndex's, it settles whose preferences hold when it is called, shows none of them in
    spans and events, streams completions as well, and its responses count tokens. The events are
    those of the model inside.

    Attributes:
        llm: The `AmuletLLM` that is asked.
        output_cls: The Pydantic model whose instances answers are; a response has them in `raw`.
    """

    @property
    def metadata(self) -> LLMMetadata:
        """That of the model inside, but that there are no tools."""
        return self.llm.metadata.model_copy(update={"is_function_calling_model": False})

    def for_user(self, user_id: str) -> Self:
        """As `AmuletLLM.for_user`."""
        return self.model_copy(update={"llm": self.llm.for_user(user_id)})  # type: ignore[attr-defined]

    def plain(self) -> Self:
        """As `AmuletLLM.plain`."""
        return self.model_copy(update={"llm": self.llm.plain()})  # type: ignore[attr-defined]

    @opens_own_span
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answers a conversation with an object; arguments as for `AmuletLLM.chat`."""
        return self._whole(self.llm.chat(messages, **self._asking(kwargs)))

    @opens_own_span
    def achat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> Coroutine[Any, Any, ChatResponse]:
        """As `chat`, without blocking the event loop."""
        return self._awhole(self.llm.achat(messages, **self._asking(kwargs)))

    @opens_own_span
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """As `chat`: the object as it grows, and at last whole."""
        return self._growing(self.llm.stream_chat(messages, **self._asking(kwargs)))

    @opens_own_span
    def astream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> Coroutine[Any, Any, ChatResponseAsyncGen]:
        """As `stream_chat`, without blocking the event loop."""
        return self._agrowing(self.llm.astream_chat(messages, **self._asking(kwargs)))

    @opens_own_span
    def complete(
        self,
        prompt: str,
        formatted: bool = False,  # noqa: ARG002 - nothing is a whole prompt
        **kwargs: Any,
    ) -> CompletionResponse:
        """As `chat`, for what one user says."""
        return _completion(self.chat(_said(prompt), **kwargs))

    @opens_own_span
    def acomplete(
        self,
        prompt: str,
        formatted: bool = False,  # noqa: ARG002
        **kwargs: Any,
    ) -> Coroutine[Any, Any, CompletionResponse]:
        """As `complete`, without blocking the event loop."""
        return _acompletion(self.achat(_said(prompt), **kwargs))

    @opens_own_span
    def stream_complete(
        self,
        prompt: str,
        formatted: bool = False,  # noqa: ARG002
        **kwargs: Any,
    ) -> CompletionResponseGen:
        """As `complete`: the object as it grows, and at last whole."""
        return _completions(self.stream_chat(_said(prompt), **kwargs))

    @opens_own_span
    def astream_complete(
        self,
        prompt: str,
        formatted: bool = False,  # noqa: ARG002
        **kwargs: Any,
    ) -> Coroutine[Any, Any, CompletionResponseAsyncGen]:
        """As `stream_complete`, without blocking the event loop."""
        return _acompletions(self.astream_chat(_said(prompt), **kwargs))

    @opens_own_span
    def predict(self, prompt: BasePromptTemplate, **prompt_args: Any) -> str:
        """As LlamaIndex's own; errors are those of `AmuletLLM.predict`."""
        with not_taken_for_an_answer():
            model, filled = self._for_prompt(prompt, prompt_args)
            return super(AmuletStructuredLLM, model).predict(prompt, **filled)

    @opens_own_span
    def apredict(self, prompt: BasePromptTemplate, **prompt_args: Any) -> Coroutine[Any, Any, str]:
        """As `predict`, for asyncio."""
        with not_taken_for_an_answer():
            model, filled = self._for_prompt(prompt, prompt_args)
        work = super(AmuletStructuredLLM, model).apredict(prompt, **filled)
        return bind_coroutine(told_apart(work))

    @opens_own_span
    def stream(self, prompt: BasePromptTemplate, **prompt_args: Any) -> TokenGen:
        """As LlamaIndex's own."""
        model, filled = self._for_prompt(prompt, prompt_args)
        return super(AmuletStructuredLLM, model).stream(prompt, **filled)

    @opens_own_span
    def astream(
        self, prompt: BasePromptTemplate, **prompt_args: Any
    ) -> Coroutine[Any, Any, TokenAsyncGen]:
        """As LlamaIndex's own."""
        model, filled = self._for_prompt(prompt, prompt_args)
        return bind_coroutine(super(AmuletStructuredLLM, model).astream(prompt, **filled))

    # Predictions of objects of other classes are the inner model's affair.

    @opens_own_span
    def structured_predict(self, *args: Any, **kwargs: Any) -> Any:
        """As `AmuletLLM.structured_predict`."""
        return self.llm.structured_predict(*args, **kwargs)

    @opens_own_span
    def astructured_predict(self, *args: Any, **kwargs: Any) -> Any:
        """As `AmuletLLM.astructured_predict`."""
        return self.llm.astructured_predict(*args, **kwargs)

    @opens_own_span
    def stream_structured_predict(self, *args: Any, **kwargs: Any) -> Any:
        """As `AmuletLLM.stream_structured_predict`."""
        return self.llm.stream_structured_predict(*args, **kwargs)

    @opens_own_span
    def astream_structured_predict(self, *args: Any, **kwargs: Any) -> Any:
        """As `AmuletLLM.astream_structured_predict`."""
        return self.llm.astream_structured_predict(*args, **kwargs)

    def _for_prompt(
        self, prompt: BasePromptTemplate, arguments: dict[str, Any]
    ) -> tuple[Self, dict[str, Any]]:
        """A copy that follows the arguments on preferences, and what fills the prompt in."""
        llm, filled = self.llm.named_by(arguments, variables_of(prompt))  # type: ignore[attr-defined]
        return self.model_copy(update={"llm": llm}), filled

    def _asking(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        if "response_format" in kwargs:
            raise PromptError(
                f"response_format= is {self.output_cls.__name__} already; leave it out, or ask the "
                "model inside (`llm`)."
            )
        return {**kwargs, "response_format": self.output_cls}

    def _whole(self, response: ChatResponse) -> ChatResponse:
        return _holding(ObjectReader(self.output_cls).whole(response), response)

    async def _awhole(self, answering: Coroutine[Any, Any, ChatResponse]) -> ChatResponse:
        return self._whole(await answering)

    def _growing(self, responses: ChatResponseGen) -> ChatResponseGen:
        growing = _Growing(self.output_cls)
        with closing(responses):
            for response in responses:
                yield from growing.news(response)

    async def _agrowing(
        self, opening: Coroutine[Any, Any, ChatResponseAsyncGen]
    ) -> ChatResponseAsyncGen:
        return self._agrowing_of(await opening)

    async def _agrowing_of(self, responses: ChatResponseAsyncGen) -> ChatResponseAsyncGen:
        growing = _Growing(self.output_cls)
        async with aclosing(responses):
            async for response in responses:
                for found in growing.news(response):
                    yield found


class _Growing:
    """One answer as it streams; steps that bring nothing to the object are told with the next."""

    def __init__(self, output_cls: type[BaseModel]) -> None:
        self._reader = ObjectReader(output_cls)
        self._delta = ""

    def news(self, response: ChatResponse) -> list[ChatResponse]:
        self._delta += response.delta or ""
        found = self._reader.growing(response)
        if found is None:
            return []
        delta, self._delta = self._delta, ""
        return [_holding(found, response, delta=delta)]


def _holding(found: BaseModel, response: ChatResponse, **changes: Any) -> ChatResponse:
    message = ChatMessage(role=MessageRole.ASSISTANT, content=found.model_dump_json())
    return response.model_copy(update={"message": message, "raw": found, **changes})


def _said(prompt: str) -> list[ChatMessage]:
    return [ChatMessage(role=MessageRole.USER, content=prompt)]


def _completion(response: ChatResponse) -> CompletionResponse:
    return CompletionResponse(
        text=response.message.content or "",
        raw=response.raw,
        delta=response.delta,
        logprobs=response.logprobs,
        additional_kwargs=response.additional_kwargs,
    )


async def _acompletion(answering: Coroutine[Any, Any, ChatResponse]) -> CompletionResponse:
    return _completion(await answering)


def _completions(
    responses: Generator[ChatResponse, None, None],
) -> Generator[CompletionResponse, None, None]:
    with closing(responses):
        yield from map(_completion, responses)


async def _acompletions(
    opening: Coroutine[Any, Any, ChatResponseAsyncGen],
) -> AsyncGenerator[CompletionResponse, None]:
    responses = await opening

    async def completions() -> AsyncGenerator[CompletionResponse, None]:
        async with aclosing(responses):
            async for response in responses:
                yield _completion(response)

    return completions()
