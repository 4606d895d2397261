"""Counts the tokens of conversations, and of parts of them that are no conversations."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from amulet_integrations.concurrency.cached_property import cached_property
from amulet_integrations.errors import PromptError
from amulet_integrations.prompting.tools.tool_use import Tool
from amulet_integrations.prompting.tools.turns import split_orphan_results

from .messages import ChatMessage

_QUESTION = ChatMessage(role="user", content="a")
_USUAL_TURN_OVERHEAD = 5


class TokenCounter:
    """Counts the tokens that messages take in the base context.

    Args:
        prompt_length: The number of tokens of a conversation's prompt, given the messages and the
            tools; raises `PromptError` if they cannot be written as a prompt.
        text_length: The number of tokens of a text by itself.
    """

    def __init__(
        self,
        prompt_length: Callable[[Sequence[ChatMessage], Sequence[Tool]], int],
        text_length: Callable[[str], int],
    ) -> None:
        self._prompt_length = prompt_length
        self._text_length = text_length

    def count(self, messages: Sequence[ChatMessage], tools: Sequence[Tool]) -> int:
        """The number of tokens; 0 for no messages."""
        if not messages:
            return 0
        sound, orphans = split_orphan_results(messages)
        for conversation, others in (
            (messages, ()),
            ([_QUESTION, *sound], orphans),
            ([_QUESTION], messages),
        ):
            try:
                length = self._prompt_length(conversation, tools)
            except PromptError:
                continue
            return length + sum(map(self._estimate, others))
        return sum(map(self._estimate, messages))

    def _estimate(self, message: ChatMessage) -> int:
        """About how many tokens a message adds to a prompt."""
        calls = [
            json.dumps(call.model_dump(), ensure_ascii=False, default=str)
            for call in message.tool_calls
        ]
        text = sum(map(self._text_length, [message.content, *calls]))
        return text + self._turn_overhead * (1 + len(calls))

    @cached_property
    def _turn_overhead(self) -> int:
        """About how many tokens a turn has besides its text."""
        answer = ChatMessage(role="assistant", content="a")
        try:
            short = self._prompt_length([_QUESTION], ())
            return (self._prompt_length([_QUESTION, answer, _QUESTION], ()) - short) // 2
        except PromptError:
            return _USUAL_TURN_OVERHEAD
