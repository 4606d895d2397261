"""LlamaIndex's eight ways to ask a model."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
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
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback

from amulet_integrations import prompting
from amulet_integrations.errors import PromptError
from amulet_integrations.llama_index.exchange import Exchange
from amulet_integrations.llama_index.identity import IdentifiedLLM
from amulet_integrations.llama_index.messages import check_messages, from_llama_index
from amulet_integrations.llama_index.spans import opens_own_span, without_preferences
from amulet_integrations.llama_index.streaming import chat_form, completion_form
from amulet_integrations.llama_index.text_programs import format_wanted_by_caller
from amulet_integrations.llama_index.tools import own_names, to_openai_tools
from amulet_integrations.prompting.openai_compat.output_options import (
    OUTPUT_OPTIONS,
    OutputOptions,
    plain_arguments,
)

_OF_TOOLS = {"tools", "tool_choice", "parallel_tool_calls"}
_OF_COMPLETIONS = tuple(name for name in OUTPUT_OPTIONS if name not in _OF_TOOLS)
_SYSTEM = {MessageRole.SYSTEM, MessageRole.DEVELOPER}


class AnsweringLLM(IdentifiedLLM):
    """Overrides every method of LlamaIndex's models that asks for an answer."""

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
            **kwargs: See the class; there are no tools.

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

    def _chat(
        self, method: str, messages: Sequence[ChatMessage], kwargs: dict[str, Any]
    ) -> Exchange[ChatResponse]:
        conversation = self._conversation(messages)
        wanted = None if isinstance(conversation, str) else format_wanted_by_caller()
        own = {} if wanted is None else {"response_format": wanted}
        given = {**own, **self._bound, **kwargs}
        arguments = plain_arguments(given, to_openai_tools)
        call = self.read_call(arguments, OUTPUT_OPTIONS)
        return Exchange(
            llm=self,
            method=method,
            callback=llm_chat_callback,
            asked=messages,
            shown=without_preferences(arguments),
            conversation=conversation,
            call=call,
            form=self._form(arguments, conversation),
            whose=self.resolve_user(call.whose),
            respond=chat_form,
            tool_names=own_names(given.get("tools") or ()),
        )

    def _completion(
        self, method: str, prompt: str, formatted: bool, kwargs: dict[str, Any]
    ) -> Exchange[CompletionResponse]:
        conversation = self._prompted(prompt, formatted=formatted)
        arguments = {**self._bound, **kwargs}
        call = self.read_call(arguments, _OF_COMPLETIONS)
        arguments = plain_arguments(arguments, to_openai_tools)
        return Exchange(
            llm=self,
            method=method,
            callback=llm_completion_callback,
            asked=prompt,
            shown={"formatted": formatted, **without_preferences(arguments)},
            conversation=conversation,
            call=call,
            form=self._form(arguments, conversation),
            whose=self.resolve_user(call.whose),
            respond=completion_form,
            tool_names={},
        )

    def _form(
        self, arguments: dict[str, Any], conversation: list[prompting.ChatMessage] | str
    ) -> OutputOptions:
        form = OutputOptions.read(arguments, steer_strings=self.steer_strings)
        if isinstance(conversation, str) and (form.tool_use or form.json_output):
            raise PromptError(
                "A prompt that is written whole cannot be told of tools or a response format. "
                "Leave out messages_to_prompt, completion_to_prompt and formatted=True, so that "
                "the model's chat template writes the prompt."
            )
        return form

    def _conversation(self, messages: Sequence[ChatMessage]) -> list[prompting.ChatMessage] | str:
        check_messages(messages)
        if self.system_prompt and all(message.role not in _SYSTEM for message in messages):
            system = ChatMessage(role=MessageRole.SYSTEM, content=self.system_prompt)
            messages = [system, *messages]
        if self._writes_whole_prompts:
            return self.messages_to_prompt(messages)  # type: ignore[misc]
        return from_llama_index(messages)

    def _prompted(self, prompt: str, *, formatted: bool) -> list[prompting.ChatMessage] | str:
        if not isinstance(prompt, str):
            raise PromptError(f"prompt is a {type(prompt).__name__}; give a string.")
        if formatted:
            return prompt
        if self.query_wrapper_prompt is not None:
            prompt = self.query_wrapper_prompt.format(query_str=prompt)
        if self._writes_whole_completions:
            whole = self.completion_to_prompt(prompt)  # type: ignore[misc]
            # Where it goes inside is not known; LlamaIndex too puts it in front.
            return f"{self.system_prompt}\n\n{whole}" if self.system_prompt else whole
        return self._conversation([ChatMessage(role=MessageRole.USER, content=prompt)])
