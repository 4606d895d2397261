"""A model whose every answer is an object."""

# ruff: noqa: ARG002 - no prompt is whole here, so `formatted` has no effect

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self, cast

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

from amulet_integrations.concurrency.bind_context import bind_coroutine
from amulet_integrations.errors import PromptError

from .client_llm import ClientLLM
from .instrumentation import PrivateSpans
from .messages import user_message
from .predictions import bind_preferences, raises_answer_errors
from .streaming import Coro, aflat_map, flat_map, map_awaited
from .structured import ObjectReader


class AmuletStructuredLLM(PrivateSpans, StructuredLLM):
    """What `AmuletLLM.as_structured_llm` returns.

    Unlike LlamaIndex's `StructuredLLM`, it resolves the user when it is called, shows no
    preferences in spans and events, streams completions as well, and counts tokens in its
    responses. The events are those of the model inside.

    Attributes:
        llm: The `AmuletLLM` that answers.
        output_cls: The Pydantic model whose instances answers are; they are the responses' `raw`.
    """

    @property
    def metadata(self) -> LLMMetadata:
        """That of the model inside, except that it calls no tools."""
        return self.llm.metadata.model_copy(update={"is_function_calling_model": False})

    def for_user(self, user_id: str) -> Self:
        """As `AmuletLLM.for_user`."""
        return self.model_copy(update={"llm": self.llm.for_user(user_id)})  # type: ignore[attr-defined]

    def plain(self) -> Self:
        """As `AmuletLLM.plain`."""
        return self.model_copy(update={"llm": self.llm.plain()})  # type: ignore[attr-defined]

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answers a conversation with an object; arguments as for `AmuletLLM.chat`."""
        return self._read(self.llm.chat(messages, **self._arguments(kwargs)))

    def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Coro[ChatResponse]:
        """As `chat`, without blocking the event loop."""
        return map_awaited(self.llm.achat(messages, **self._arguments(kwargs)), self._read)

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """As `chat`: the object as it grows, and at last whole."""
        responses = self.llm.stream_chat(messages, **self._arguments(kwargs))
        return flat_map(responses, _partial_reader(self.output_cls))

    def astream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> Coro[ChatResponseAsyncGen]:
        """As `stream_chat`, without blocking the event loop."""
        opening = self.llm.astream_chat(messages, **self._arguments(kwargs))
        reader = _partial_reader(self.output_cls)
        return map_awaited(opening, lambda responses: aflat_map(responses, reader))

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """As `chat`, for one user message."""
        return _completion(self.chat([user_message(prompt)], **kwargs))

    def acomplete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> Coro[CompletionResponse]:
        """As `complete`, without blocking the event loop."""
        return map_awaited(self.achat([user_message(prompt)], **kwargs), _completion)

    def stream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseGen:
        """As `complete`: the object as it grows, and at last whole."""
        return flat_map(self.stream_chat([user_message(prompt)], **kwargs), _completions)

    def astream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> Coro[CompletionResponseAsyncGen]:
        """As `stream_complete`, without blocking the event loop."""
        opening = self.astream_chat([user_message(prompt)], **kwargs)
        return map_awaited(opening, lambda responses: aflat_map(responses, _completions))

    @raises_answer_errors
    def predict(self, prompt: BasePromptTemplate, **prompt_args: Any) -> str:
        """As LlamaIndex's own; errors are those of `AmuletLLM.predict`."""
        llm, prompt_args = self._bind_preferences(prompt, prompt_args)
        return super(AmuletStructuredLLM, llm).predict(prompt, **prompt_args)

    @raises_answer_errors
    def apredict(self, prompt: BasePromptTemplate, **prompt_args: Any) -> Coro[str]:
        """As `predict`, for asyncio."""
        llm, prompt_args = self._bind_preferences(prompt, prompt_args)
        return bind_coroutine(super(AmuletStructuredLLM, llm).apredict(prompt, **prompt_args))

    def stream(self, prompt: BasePromptTemplate, **prompt_args: Any) -> TokenGen:
        """As LlamaIndex's own."""
        llm, prompt_args = self._bind_preferences(prompt, prompt_args)
        return super(AmuletStructuredLLM, llm).stream(prompt, **prompt_args)

    def astream(self, prompt: BasePromptTemplate, **prompt_args: Any) -> Coro[TokenAsyncGen]:
        """As LlamaIndex's own."""
        llm, prompt_args = self._bind_preferences(prompt, prompt_args)
        return bind_coroutine(super(AmuletStructuredLLM, llm).astream(prompt, **prompt_args))

    # Objects of other classes are predicted by the model inside.

    def structured_predict(self, *args: Any, **kwargs: Any) -> Any:
        """As `AmuletLLM.structured_predict`."""
        return self.llm.structured_predict(*args, **kwargs)

    def astructured_predict(self, *args: Any, **kwargs: Any) -> Any:
        """As `AmuletLLM.astructured_predict`."""
        return self.llm.astructured_predict(*args, **kwargs)

    def stream_structured_predict(self, *args: Any, **kwargs: Any) -> Any:
        """As `AmuletLLM.stream_structured_predict`."""
        return self.llm.stream_structured_predict(*args, **kwargs)

    def astream_structured_predict(self, *args: Any, **kwargs: Any) -> Any:
        """As `AmuletLLM.astream_structured_predict`."""
        return self.llm.astream_structured_predict(*args, **kwargs)

    def _bind_preferences(
        self, prompt: BasePromptTemplate, prompt_args: dict[str, Any]
    ) -> tuple[Self, dict[str, Any]]:
        """As `bind_preferences`, of the model inside."""
        llm, others = bind_preferences(cast("ClientLLM", self.llm), prompt_args, prompt)
        return self.model_copy(update={"llm": llm}), others

    def _arguments(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        if "response_format" in kwargs:
            raise PromptError(
                f"response_format= is {self.output_cls.__name__} already; leave it out, or ask the "
                "model inside (`llm`)."
            )
        return {**kwargs, "response_format": self.output_cls}

    def _read(self, response: ChatResponse) -> ChatResponse:
        return _with_object(response, ObjectReader(self.output_cls).read(response))


def _partial_reader(output_cls: type[BaseModel]) -> Callable[[ChatResponse], list[ChatResponse]]:
    """Makes the function that reads the responses of one stream.

    What a response adds to the text, and not to the object, is reported with the next one.
    """
    reader = ObjectReader(output_cls)
    delta = ""

    def read(response: ChatResponse) -> list[ChatResponse]:
        nonlocal delta
        delta += response.delta or ""
        found = reader.read_partial(response)
        if found is None:
            return []
        read_delta, delta = delta, ""
        return [_with_object(response, found, delta=read_delta)]

    return read


def _with_object(response: ChatResponse, found: BaseModel, **changes: Any) -> ChatResponse:
    message = ChatMessage(role=MessageRole.ASSISTANT, content=found.model_dump_json())
    return response.model_copy(update={"message": message, "raw": found, **changes})


def _completion(response: ChatResponse) -> CompletionResponse:
    return CompletionResponse(
        text=response.message.content or "",
        raw=response.raw,
        delta=response.delta,
        logprobs=response.logprobs,
        additional_kwargs=response.additional_kwargs,
    )


def _completions(response: ChatResponse) -> list[CompletionResponse]:
    return [_completion(response)]
