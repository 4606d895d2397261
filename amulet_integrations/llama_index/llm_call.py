"""One call of a model: its arguments, converted once, and its answer as LlamaIndex's responses."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from llama_index.core.base.llms.generic_utils import messages_to_prompt
from llama_index.core.base.llms.types import ChatMessage as LlamaMessage
from llama_index.core.base.llms.types import ChatResponse, CompletionResponse, MessageRole
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.llm import default_completion_to_prompt

from amulet_integrations.concurrency.bind_context import aclosing_all
from amulet_integrations.concurrency.fair_threads import REQUEST_THREADS
from amulet_integrations.errors import PromptError
from amulet_integrations.personalization.call_options import SELECTION_ARGUMENTS, CallArguments
from amulet_integrations.personalization.prepared_call import PreparedAnswer
from amulet_integrations.personalization.user_resolution import PreferenceSelection
from amulet_integrations.personalization.validated_call import ValidatedCall
from amulet_integrations.prompting import ChatMessage
from amulet_integrations.prompting.openai_compat.output_options import (
    OUTPUT_OPTIONS,
    plain_arguments,
)

from .client_llm import ClientLLM
from .instrumentation import call_in_span
from .messages import check_messages, has_system_message, to_chat_messages, user_message
from .streaming import R, ResponseBuilder, chat_response, completion_response
from .tools import original_names, to_openai_tools

T = TypeVar("T")
Conversation = tuple[ChatMessage, ...] | str
"""A conversation; a string is a prompt that the caller has written whole."""


@dataclass(frozen=True)
class CallKind(Generic[R]):
    """What chats and completions differ in.

    Attributes:
        callback: LlamaIndex's decorator that fires the events of this kind of call.
        make_response: Makes the responses; see `ResponseBuilder`.
        output_options: Names of the arguments that shape the answer.
    """

    callback: Callable[[], Callable[..., Any]]
    make_response: Callable[..., R]
    output_options: tuple[str, ...]


CHAT: CallKind[ChatResponse] = CallKind(llm_chat_callback, chat_response, OUTPUT_OPTIONS)
COMPLETION: CallKind[CompletionResponse] = CallKind(
    llm_completion_callback,
    completion_response,
    tuple(name for name in OUTPUT_OPTIONS if "tool" not in name),
)


@dataclass(frozen=True, repr=False, kw_only=True)
class LLMCall(Generic[R]):
    """A call whose arguments are converted and validated; made when the public method is called.

    LlamaIndex's span, events and callbacks surround the decoding. They see `argument` and `shown`.

    Attributes:
        llm: The model that is called.
        kind: Chat or completion.
        method: The public method's name, for the span.
        argument: The messages or the prompt, as the caller gave them.
        shown: The keyword arguments without those that select preferences.
        conversation: The converted messages, or the whole prompt.
        options: What the answer has to be like, and the deadline.
        selection: Whose preferences the answer follows.
        tool_names: The tools' original names, by those in the prompt.
    """

    llm: ClientLLM
    kind: CallKind[R]
    method: str
    argument: Any
    shown: Mapping[str, Any]
    conversation: Conversation
    options: CallArguments
    selection: PreferenceSelection
    tool_names: Mapping[str, str]

    @classmethod
    def prepare(
        cls,
        llm: ClientLLM,
        kind: CallKind[R],
        method: str,
        *,
        argument: Any,
        conversation: Conversation,
        kwargs: Mapping[str, Any],
        also_shown: Mapping[str, Any] = MappingProxyType({}),
    ) -> LLMCall[R]:
        """Reads the keyword arguments of a call and resolves the user; does no I/O.

        Raises:
            AmuletError: One of them is unknown or not valid.
        """
        plain = plain_arguments(kwargs, to_openai_tools)
        options = llm.read_call(plain, kind.output_options)
        needs_template = options.output.tool_use or options.output.json_output
        if isinstance(conversation, str) and needs_template:
            raise PromptError(
                "A prompt that is written whole cannot describe tools or a response format. "
                "Leave out messages_to_prompt, completion_to_prompt and formatted=True, so that "
                "the model's chat template writes the prompt."
            )
        others = {name: plain[name] for name in plain if name not in SELECTION_ARGUMENTS}
        selection = llm.resolve_user(options.selection)
        if "user_id" not in plain:
            llm.report_nobody(selection)
        return cls(
            llm=llm,
            kind=kind,
            method=method,
            argument=argument,
            shown={**also_shown, **others},
            conversation=conversation,
            options=options,
            selection=selection,
            tool_names=original_names(kwargs.get("tools") or ()),
        )

    def validate(self) -> ValidatedCall:
        """Refuses what `run` would refuse, and decodes nothing."""
        return self._on_thread(lambda: self._prepare().validate())

    async def avalidate(self) -> ValidatedCall:
        """As `validate`, for asyncio."""
        return await self._await_on_thread(lambda: self._prepare().validate())

    def run(self) -> R:
        """The whole answer."""
        builder = self._on_thread(self._start)

        def answer(*_: Any, **__: Any) -> R:
            *_partial, last = builder.responses()
            return builder.finish(last)

        return self._in_span(answer)

    def stream(self) -> Generator[R, None, None]:
        """The answer as it grows; closing the generator ends the decoding."""
        responses = self._on_thread(self._start).responses()
        return _closing_both(self._in_span(lambda *_, **__: responses), responses)

    async def arun(self) -> R:
        """As `run`, for asyncio; cancelling the task ends the decoding."""
        builder = await self._await_on_thread(self._start)

        async def answer(*_: Any, **__: Any) -> R:
            *_partial, last = [response async for response in builder.aresponses()]
            return builder.finish(last)

        return await self._in_span(answer)

    async def astream(self) -> AsyncGenerator[R, None]:
        """As `stream`, for asyncio."""
        responses = (await self._await_on_thread(self._start)).aresponses()

        async def answer(*_: Any, **__: Any) -> AsyncGenerator[R, None]:
            return responses

        return _aclosing_both(await self._in_span(answer), responses)

    def _on_thread(self, work: Callable[[], T]) -> T:
        """Does work that may block, no longer than the call's deadline."""
        deadline, user_id = self.options.deadline, self.selection.owner
        return REQUEST_THREADS.run(work, deadline=deadline, user_id=user_id)

    async def _await_on_thread(self, work: Callable[[], T]) -> T:
        """As `_on_thread`, without blocking the event loop."""
        deadline, user_id = self.options.deadline, self.selection.owner
        return await REQUEST_THREADS.arun(work, deadline=deadline, user_id=user_id)

    def _start(self) -> ResponseBuilder[R]:
        return ResponseBuilder(self._prepare(), self.kind.make_response, self.tool_names)

    def _prepare(self) -> PreparedAnswer:
        """Does what may block: schemas, the user, the model, the prompts."""
        personalization = self.llm.personalize(self.selection, self.options)
        return self.llm.prepare_answer(self.conversation, self.options, personalization)

    def _in_span(self, answer: Callable[..., T]) -> T:
        """Calls `answer` as a method of the model, in its span and between its events."""
        answer.__name__ = self.method
        traced: Callable[..., T] = self.kind.callback()(answer)
        return call_in_span(self.llm, self.method, traced, (self.argument,), self.shown)


# LlamaIndex's generators do not close what they read from, and whoever keeps the exception that
# ended one keeps the rest of the chain alive with it.
def _closing_both(
    traced: Generator[R, None, None], responses: Generator[R, None, None]
) -> Generator[R, None, None]:
    with closing(responses), closing(traced):
        yield from traced


async def _aclosing_both(
    traced: AsyncGenerator[R, None], responses: AsyncGenerator[R, None]
) -> AsyncGenerator[R, None]:
    async with aclosing_all(responses), aclosing_all(traced):
        async for response in traced:
            yield response


def conversation_of_messages(llm: ClientLLM, messages: Sequence[LlamaMessage]) -> Conversation:
    """Converts the messages of a chat; where the caller writes prompts, to a whole prompt."""
    check_messages(messages)
    if llm.system_prompt and not has_system_message(messages):
        system = LlamaMessage(role=MessageRole.SYSTEM, content=llm.system_prompt)
        messages = [system, *messages]
    if writes_whole_prompts(llm):
        return llm.messages_to_prompt(messages)  # type: ignore[misc]
    return to_chat_messages(messages)


def conversation_of_prompt(llm: ClientLLM, prompt: str, *, formatted: bool) -> Conversation:
    """Converts the prompt of a completion, which is one user message unless it is whole."""
    if not isinstance(prompt, str):
        raise PromptError(f"prompt is a {type(prompt).__name__}; give a string.")
    if formatted:
        return prompt
    if llm.query_wrapper_prompt is not None:
        prompt = llm.query_wrapper_prompt.format(query_str=prompt)
    if llm.completion_to_prompt not in (None, default_completion_to_prompt):
        whole = llm.completion_to_prompt(prompt)
        # Where the system prompt goes inside is not known; LlamaIndex too puts it in front.
        return f"{llm.system_prompt}\n\n{whole}" if llm.system_prompt else whole
    return conversation_of_messages(llm, [user_message(prompt)])


def writes_whole_prompts(llm: ClientLLM) -> bool:
    """Whether the caller's `messages_to_prompt` writes prompts in place of the chat template."""
    return llm.messages_to_prompt not in (None, messages_to_prompt)
