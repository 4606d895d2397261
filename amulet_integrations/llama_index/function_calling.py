"""Calls of tools: what LlamaIndex promises of a `FunctionCallingLLM`."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Self

from llama_index.core.agent.react import ReActChatFormatter, ReActOutputParser
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    MessageRole,
    ToolCallBlock,
)
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.tools import BaseTool

from amulet_integrations.bind_context import bind_coroutine
from amulet_integrations.errors import NoToolCallError, PromptError
from amulet_integrations.llama_index.predictions import PredictingLLM
from amulet_integrations.llama_index.spans import opens_own_span
from amulet_integrations.llama_index.tools import callable_tool, is_of_program
from amulet_integrations.prompting.openai_compat.openai_tools import (
    ToolChoice,
    to_openai_choice,
    tool_list,
)

if TYPE_CHECKING:
    from llama_index.core.chat_engine.types import AgentChatResponse


class ToolCallingLLM(PredictingLLM):
    """Chats that may call tools, with arguments that always follow the tools' schemas.

    Calls, and the decision whether there are any, come from the context without preferences: no
    preference causes a call, prevents one or changes it.

    Each method takes LlamaIndex's arguments, those of every call (see `AmuletLLM`) and
    `tool_choice`: "auto" lets the model choose between text and calls; "any", "required" or True
    makes it call; "none" or False keeps it from calling; the name of a tool, or OpenAI's dict for
    one, makes it call that tool.
    """

    @opens_own_span
    def chat_with_tools(self, tools: Sequence[BaseTool], *args: Any, **kwargs: Any) -> ChatResponse:
        """Answers a conversation with text or calls of tools.

        Args:
            tools: LlamaIndex's tools, or dicts in OpenAI's form.
            *args: `user_msg` (what the user says last, a string or a message), `chat_history`
                (what was said before), `verbose` (without effect), `allow_parallel_tool_calls`
                (False by default: one call at most; with a tool named by `tool_choice` there is
                one in any case), `tool_required` (an answer without a call is none).
            **kwargs: The same by name, `tool_choice`, and those of every call.

        Returns:
            The assistant's message; its calls are `ToolCallBlock`s, and in OpenAI's form in
            ``additional_kwargs["tool_calls"]``.

        Raises:
            PromptError: A tool describes no function, two differ but have one name, or
                `tool_choice` names none of them.
            UnsupportedGrammarError: A schema cannot be enforced while decoding.
            AmuletError: The call cannot be followed, or decoding failed.
        """
        return self.chat(**self._prepare_chat_with_tools(tools, *args, **kwargs))

    @opens_own_span
    def stream_chat_with_tools(
        self, tools: Sequence[BaseTool], *args: Any, **kwargs: Any
    ) -> ChatResponseGen:
        """As `chat_with_tools`, while it is being written; calls have what is known of them."""
        prepared = self._prepare_chat_with_tools(tools, *args, **kwargs)
        return self.stream_chat(**prepared)

    @opens_own_span
    def achat_with_tools(
        self, tools: Sequence[BaseTool], *args: Any, **kwargs: Any
    ) -> Coroutine[Any, Any, ChatResponse]:
        """As `chat_with_tools`, without blocking the event loop."""
        return self.achat(**self._prepare_chat_with_tools(tools, *args, **kwargs))

    @opens_own_span
    def astream_chat_with_tools(
        self, tools: Sequence[BaseTool], *args: Any, **kwargs: Any
    ) -> Coroutine[Any, Any, ChatResponseAsyncGen]:
        """As `stream_chat_with_tools`, without blocking the event loop."""
        prepared = self._prepare_chat_with_tools(tools, *args, **kwargs)
        return self.astream_chat(**prepared)

    @opens_own_span
    def predict_and_call(
        self, tools: Sequence[BaseTool], *args: Any, **kwargs: Any
    ) -> AgentChatResponse:
        """As LlamaIndex's own: asks, makes the calls, and gives what the tools gave."""
        llm, shown = self._caller(kwargs)
        tools = [callable_tool(tool) for tool in tool_list(tools)]
        return super(ToolCallingLLM, llm).predict_and_call(tools, *args, **shown)

    @opens_own_span
    def apredict_and_call(
        self, tools: Sequence[BaseTool], *args: Any, **kwargs: Any
    ) -> Coroutine[Any, Any, AgentChatResponse]:
        """As `predict_and_call`, without blocking the event loop."""
        llm, shown = self._caller(kwargs)
        tools = [callable_tool(tool) for tool in tool_list(tools)]
        called = super(ToolCallingLLM, llm).apredict_and_call(tools, *args, **shown)
        return bind_coroutine(self._loaded(called))

    def get_tool_calls_from_response(
        self,
        response: ChatResponse,
        error_on_no_tool_call: bool = True,
        **kwargs: Any,  # noqa: ARG002 - LlamaIndex's signature
    ) -> list[ToolSelection]:
        """The calls of an answer, those of a growing one as far as they are known.

        Raises:
            NoToolCallError: There is none, and `error_on_no_tool_call` is set.
        """
        blocks = [block for block in response.message.blocks if isinstance(block, ToolCallBlock)]
        if not blocks and error_on_no_tool_call:
            raise NoToolCallError(
                "The answer calls no tool. Make the model call with tool_required=True or "
                "tool_choice=, or pass error_on_no_tool_call=False."
            )
        return [
            ToolSelection(
                tool_id=block.tool_call_id or "",
                tool_name=block.tool_name,
                tool_kwargs=block.tool_kwargs,
            )
            for block in blocks
        ]

    @opens_own_span
    def _prepare_chat_with_tools(  # noqa: PLR0917 - LlamaIndex's signature
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,  # noqa: ARG002
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        tool_choice: ToolChoice = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Arguments of `chat`."""
        if isinstance(user_msg, str):
            user_msg = ChatMessage(role=MessageRole.USER, content=user_msg)
        messages = [*(chat_history or ()), *((user_msg,) if user_msg is not None else ())]
        if not messages:
            raise PromptError("There is nothing to answer: pass user_msg= or chat_history=.")
        tools = tool_list(tools)
        waited_for = bool(tools) and all(map(is_of_program, tools))
        if tool_choice is None and (tool_required or waited_for):
            tool_choice = "required"
        choice = to_openai_choice(tool_choice)
        names_one = isinstance(choice, dict)
        return {
            "messages": messages,
            "tools": tools,
            "tool_choice": choice,
            "parallel_tool_calls": False if names_one else allow_parallel_tool_calls,
            **kwargs,
        }

    def _caller(self, kwargs: dict[str, Any]) -> tuple[Self, dict[str, Any]]:
        """A copy that follows a call's arguments on preferences, and the call's others."""
        llm, others = self.named_by(kwargs)
        if self._writes_whole_prompts:
            # Such a model is asked in text, for which LlamaIndex sets no defaults.
            in_text = {
                "react_chat_formatter": ReActChatFormatter(),
                "output_parser": ReActOutputParser(),
            }
            others = {**in_text, **others}
        return llm, others
