"""`AmuletLLM`: LlamaIndex's interface of a language model, decoded for the user who asks."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from llama_index.core.base.llms.generic_utils import messages_to_prompt
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
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.custom import CustomLLM
from llama_index.core.llms.llm import default_completion_to_prompt
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.types import TokenAsyncGen
from pydantic import Field

from amulet_integrations import prompting
from amulet_integrations.call_time import coroutine_as_called
from amulet_integrations.errors import PromptError
from amulet_integrations.llama_index.answers import chat_form, completion_form
from amulet_integrations.llama_index.exchange import Exchange, opens_own_span
from amulet_integrations.llama_index.messages import check_messages, from_llama_index
from amulet_integrations.settings import AmuletSettings
from amulet_integrations.whose import Whose

T = TypeVar("T")


class AmuletLLM(AmuletSettings, CustomLLM):
    """A local model for LlamaIndex whose answers follow the preferences of the user who asks.

        llm = AmuletLLM(profiles="sqlite:///profiles.db")
        with preference_scope(user_id="ann"):
            query_engine.query("What is new?")

    Whose preferences: those named by the call (`preference=`, `profile=` or `user_id=`) or by
    `for_user`, else by the surrounding `preference_scope`, else by the constructor. They are
    settled when a method is called, so that a stream speaks for the user who asked for it wherever
    it is read. (LlamaIndex's response modes "refine" and "compact" call a streaming model only when
    their stream is read: read it inside the scope, or give them `for_user(...)`.)

    Texts of preferences reach no callback, event or span, and none of the forms to which LlamaIndex
    serialises components; a pickle keeps them.

    Every method takes the keyword arguments `preference`, `profile`, `user_id`, `params` and
    `method`, and for this call `temperature`, `max_tokens`, `top_p`, `top_k`, `min_p`,
    `repetition_penalty`, `seed`, `stop` and `timeout`. Others are refused.

    `complete` asks through the model's chat template, as one user message, unless
    `formatted=True` says that the prompt is whole. Whoever passes `messages_to_prompt` or
    `completion_to_prompt` writes whole prompts as well. In a whole prompt control tokens are read
    as such, and preferences stand in front of it, as plain text before `separator`.

    The `raw` of a response (of the last one of a stream) has `finish_reason`, `usage`, `model`, and
    in `amulet` what was applied.

    Args:
        **data: The fields of `AmuletFields` (with `profile` for a profile), and those of
            LlamaIndex's `LLM`: `system_prompt` (the system message of calls without one),
            `callback_manager`, `messages_to_prompt`, `completion_to_prompt`, `output_parser`,
            `pydantic_program_mode`, `query_wrapper_prompt`, `rate_limiter`.

    Raises:
        UnknownArgumentError: A name that means nothing here.
        InvalidParamsError: A value out of its range.
        ModelError: There is no such model, or it cannot be run.
    """

    # A user without the store to look him up in is of no use, and no store is written out.
    user_id: str | None = Field(default=None, exclude=True)

    @classmethod
    def class_name(cls) -> str:
        """The name in serialised forms and traces."""
        return "AmuletLLM"

    @property
    def metadata(self) -> LLMMetadata:
        """What LlamaIndex needs to know of the model; loads it on first use."""
        return LLMMetadata(
            context_window=self.load_engine().context_window,
            num_output=self.max_tokens,
            is_chat_model=True,
            is_function_calling_model=False,
            model_name=self.model,
            system_role=MessageRole.SYSTEM,
        )

    @opens_own_span
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answers a conversation.

        Args:
            messages: The conversation.
            **kwargs: See the class.

        Returns:
            The assistant's message.

        Raises:
            AmuletError: The call cannot be followed, or decoding failed.
        """
        return self._chat("chat", messages, kwargs).whole()

    @opens_own_span
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """As `chat`: the message so far, again and again; closing it ends the decoding."""
        return self._chat("stream_chat", messages, kwargs).stream()

    # The async methods are no coroutine functions: they read their call at once, and what they
    # return is to be awaited.
    @opens_own_span
    def achat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> Coroutine[Any, Any, ChatResponse]:
        """As `chat`, without blocking the event loop; cancelling the task ends the decoding."""
        return self._chat("achat", messages, kwargs).awhole()

    @opens_own_span
    def astream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> Coroutine[Any, Any, ChatResponseAsyncGen]:
        """As `stream_chat`, without blocking the event loop."""
        return self._chat("astream_chat", messages, kwargs).astream()

    @opens_own_span
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Answers a prompt.

        Args:
            prompt: What the user says, or a whole prompt.
            formatted: Whether the prompt is whole, with the model's control tokens.
            **kwargs: See the class.

        Returns:
            The answer.

        Raises:
            AmuletError: The call cannot be followed, or decoding failed.
        """
        return self._completion("complete", prompt, formatted, kwargs).whole()

    @opens_own_span
    def stream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseGen:
        """As `complete`: the text so far, again and again; closing it ends the decoding."""
        return self._completion("stream_complete", prompt, formatted, kwargs).stream()

    @opens_own_span
    def acomplete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> Coroutine[Any, Any, CompletionResponse]:
        """As `complete`, without blocking the event loop; cancelling ends the decoding."""
        return self._completion("acomplete", prompt, formatted, kwargs).awhole()

    @opens_own_span
    def astream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> Coroutine[Any, Any, CompletionResponseAsyncGen]:
        """As `stream_complete`, without blocking the event loop."""
        return self._completion("astream_complete", prompt, formatted, kwargs).astream()

    @opens_own_span
    def apredict(self, prompt: BasePromptTemplate, **prompt_args: Any) -> Coroutine[Any, Any, str]:
        """As LlamaIndex's own."""
        return coroutine_as_called(self._loaded(super().apredict(prompt, **prompt_args)))

    @opens_own_span
    def astream(
        self, prompt: BasePromptTemplate, **prompt_args: Any
    ) -> Coroutine[Any, Any, TokenAsyncGen]:
        """As LlamaIndex's own."""
        return coroutine_as_called(self._loaded(super().astream(prompt, **prompt_args)))

    async def _loaded(self, work: Coroutine[Any, Any, T]) -> T:
        # The base class reads `metadata` on the event loop, so the model is loaded before.
        await asyncio.to_thread(self.load_engine)
        return await work

    def _chat(
        self, method: str, messages: Sequence[ChatMessage], kwargs: dict[str, Any]
    ) -> Exchange[ChatResponse]:
        call = self.read_call(kwargs)
        return Exchange(
            llm=self,
            method=method,
            callback=llm_chat_callback,
            asked=messages,
            shown=_without_preferences(kwargs),
            conversation=self._conversation(messages),
            call=call,
            whose=self.select(call.whose),
            form=chat_form,
        )

    def _completion(
        self, method: str, prompt: str, formatted: bool, kwargs: dict[str, Any]
    ) -> Exchange[CompletionResponse]:
        call = self.read_call(kwargs)
        return Exchange(
            llm=self,
            method=method,
            callback=llm_completion_callback,
            asked=prompt,
            shown={"formatted": formatted, **_without_preferences(kwargs)},
            conversation=self._prompted(prompt, formatted=formatted),
            call=call,
            whose=self.select(call.whose),
            form=completion_form,
        )

    def _conversation(self, messages: Sequence[ChatMessage]) -> list[prompting.ChatMessage] | str:
        check_messages(messages)
        if self.system_prompt and all(message.role not in _SYSTEM for message in messages):
            system = ChatMessage(role=MessageRole.SYSTEM, content=self.system_prompt)
            messages = [system, *messages]
        if self.messages_to_prompt not in (None, messages_to_prompt):
            return self.messages_to_prompt(messages)
        return from_llama_index(messages)

    def _prompted(self, prompt: str, *, formatted: bool) -> list[prompting.ChatMessage] | str:
        if not isinstance(prompt, str):
            raise PromptError(f"prompt is a {type(prompt).__name__}; give a string.")
        if formatted:
            return prompt
        if self.query_wrapper_prompt is not None:
            prompt = self.query_wrapper_prompt.format(query_str=prompt)
        if self.completion_to_prompt not in (None, default_completion_to_prompt):
            whole = self.completion_to_prompt(prompt)
            # Where it goes inside is not known; LlamaIndex too puts it in front.
            return f"{self.system_prompt}\n\n{whole}" if self.system_prompt else whole
        return self._conversation([ChatMessage(role=MessageRole.USER, content=prompt)])


_SYSTEM = {MessageRole.SYSTEM, MessageRole.DEVELOPER}


def _without_preferences(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in kwargs.items() if name not in Whose.model_fields}
