"""A model whose every answer is an object."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine, Generator, Sequence
from contextlib import aclosing, closing
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    MessageRole,
)
from llama_index.core.llms.structured_llm import StructuredLLM
from pydantic import BaseModel

from amulet_integrations.llama_index.objects import ObjectReader
from amulet_integrations.llama_index.spans import opens_own_span


class AmuletStructuredLLM(StructuredLLM):
    """What `AmuletLLM.as_structured_llm` gives.

    Unlike LlamaIndex's, it settles whose preferences hold when it is called, shows none of them in
    spans and events, streams completions as well, and its responses count tokens. The events are
    those of the model inside.

    Attributes:
        llm: The model that is asked.
        output_cls: The Pydantic model whose instances answers are; a response has them in `raw`.
    """

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
        return self._aopened(self.llm.astream_chat(messages, **self._asking(kwargs)))

    @opens_own_span
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:  # noqa: ARG002
        """As `chat`, for what one user says; nothing is a whole prompt."""
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

    def _asking(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        return {**kwargs, "response_format": self.output_cls}

    def _whole(self, response: ChatResponse) -> ChatResponse:
        return _holding(ObjectReader(self.output_cls).whole(response), response)

    async def _awhole(self, answering: Coroutine[Any, Any, ChatResponse]) -> ChatResponse:
        return self._whole(await answering)

    def _growing(self, responses: ChatResponseGen) -> ChatResponseGen:
        reader = ObjectReader(self.output_cls)
        with closing(responses):
            for response in responses:
                if (found := reader.growing(response)) is not None:
                    yield _holding(found, response)

    async def _aopened(
        self, opening: Coroutine[Any, Any, ChatResponseAsyncGen]
    ) -> ChatResponseAsyncGen:
        return self._agrowing(await opening)

    async def _agrowing(self, responses: ChatResponseAsyncGen) -> ChatResponseAsyncGen:
        reader = ObjectReader(self.output_cls)
        async with aclosing(responses):
            async for response in responses:
                if (found := reader.growing(response)) is not None:
                    yield _holding(found, response)


def _holding(found: BaseModel, response: ChatResponse) -> ChatResponse:
    message = ChatMessage(role=MessageRole.ASSISTANT, content=found.model_dump_json())
    return response.model_copy(update={"message": message, "raw": found})


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
        for response in responses:
            yield _completion(response)


async def _acompletions(
    opening: Coroutine[Any, Any, ChatResponseAsyncGen],
) -> AsyncGenerator[CompletionResponse, None]:
    return _acompletions_of(await opening)


async def _acompletions_of(
    responses: ChatResponseAsyncGen,
) -> AsyncGenerator[CompletionResponse, None]:
    async with aclosing(responses):
        async for response in responses:
            yield _completion(response)
