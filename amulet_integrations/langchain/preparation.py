"""What happens between a call and its first token, on threads that may block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from langchain_core.messages import BaseMessage

from amulet_integrations.client import AmuletClient
from amulet_integrations.concurrency.fair_threads import REQUEST_THREADS
from amulet_integrations.personalization.validated_call import ValidatedCall

from .call_arguments import ChatCall, PersonalizedCall
from .messages import to_chat_messages
from .streaming import ChunkStream

T = TypeVar("T")


@dataclass(frozen=True)
class CallPreparation:
    """Looks the user of a call up and renders its prompts, no longer than the call's deadline.

    Attributes:
        llm: The chat model that is called.
        call: The call.
        as_blocks: Whether the answer is made of content blocks, as in `ChunkStream`.
    """

    llm: AmuletClient
    call: ChatCall
    as_blocks: bool

    def personalized(self) -> PersonalizedCall:
        """The call with its schemas read and its user looked up."""
        return self._run(self._personalize, self.call)

    async def apersonalized(self) -> PersonalizedCall:
        """As `personalized`, without blocking the event loop."""
        return await self._arun(self._personalize, self.call)

    def validate(self, messages: list[BaseMessage]) -> ValidatedCall:
        """Refuses a conversation that could not be answered, and decodes nothing."""
        return self._run(partial(self._validate, messages), self._for_one_request())

    async def avalidate(self, messages: list[BaseMessage]) -> ValidatedCall:
        """As `validate`, without blocking the event loop."""
        return await self._arun(partial(self._validate, messages), self._for_one_request())

    def stream(self, messages: list[BaseMessage], *, streams: bool) -> ChunkStream:
        """The answer to a conversation, ready to be read.

        Args:
            messages: The conversation.
            streams: Whether the caller reads it as a stream.
        """
        call = self._for_one_request()
        return self._run(partial(self._open, messages, streams=streams), call)

    async def astream(self, messages: list[BaseMessage], *, streams: bool) -> ChunkStream:
        """As `stream`, without blocking the event loop."""
        call = self._for_one_request()
        return await self._arun(partial(self._open, messages, streams=streams), call)

    def _for_one_request(self) -> ChatCall:
        # Of several conversations in one call, one may follow the other.
        is_only_one = self.call.source is not None
        arguments = self.call.arguments.for_one_request(whole_call=is_only_one)
        return self.call.with_arguments(arguments)

    def _personalize(self, call: ChatCall) -> PersonalizedCall:
        if isinstance(call, PersonalizedCall):
            return call
        llm = self.llm.of_model(call.model)
        applied = llm.personalize(call.selection, call.arguments)
        return call.with_personalization(applied)

    def _open(self, messages: list[BaseMessage], call: ChatCall, *, streams: bool) -> ChunkStream:
        personalized = self._personalize(call)
        llm = self.llm.of_model(call.model)
        # A subclass may have changed them on the way here.
        conversation = call.messages if messages == call.source else to_chat_messages(messages)
        return ChunkStream(
            llm.prepare_answer(conversation, call.arguments, personalized.personalization),
            as_blocks=self.as_blocks,
            include_usage=call.stream_usage or not streams,
        )

    def _validate(self, messages: list[BaseMessage], call: ChatCall) -> ValidatedCall:
        return self._open(messages, call, streams=False).answer.validate()

    def _run(self, work: Callable[[ChatCall], T], call: ChatCall) -> T:
        deadline, user_id = call.arguments.deadline, call.selection.owner
        return REQUEST_THREADS.run(partial(work, call), deadline=deadline, user_id=user_id)

    async def _arun(self, work: Callable[[ChatCall], T], call: ChatCall) -> T:
        deadline, user_id = call.arguments.deadline, call.selection.owner
        return await REQUEST_THREADS.arun(partial(work, call), deadline=deadline, user_id=user_id)
