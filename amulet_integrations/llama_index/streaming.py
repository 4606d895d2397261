"""Increments of the engine in, LlamaIndex's responses out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from uuid import uuid4

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    ContentBlock,
    LogProb,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)

from amulet_integrations.engine import Increment
from amulet_integrations.engine.result import TokenLogprob
from amulet_integrations.llama_index.partial_json import parse_growing
from amulet_integrations.prompting import AnswerParser
from amulet_integrations.prompting.parsing.pieces import (
    CallPiece,
    InvalidCallPiece,
    Piece,
    ReasoningPiece,
    TextPiece,
)

R = TypeVar("R", bound=ChatResponse | CompletionResponse)


@dataclass
class Call:
    """What has been read of one call."""

    name: str
    id: str
    text: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass
class Told:
    """What an answer has told so far."""

    text: str = ""
    thoughts: str = ""
    calls: dict[int, Call] = field(default_factory=dict)


def completion_form(told: Told, **fields: Any) -> CompletionResponse:
    """What `complete` and its siblings return."""
    return CompletionResponse(text=told.text, **fields)


def chat_form(told: Told, **fields: Any) -> ChatResponse:
    """What `chat` and its siblings return; LlamaIndex reads calls in either of two places."""
    calls = list(told.calls.values())
    blocks: list[ContentBlock] = []
    if told.thoughts:
        blocks.append(ThinkingBlock(content=told.thoughts))
    if told.text or not calls:
        blocks.append(TextBlock(text=told.text))
    blocks += [
        ToolCallBlock(tool_call_id=call.id, tool_name=call.name, tool_kwargs=call.arguments)
        for call in calls
    ]
    more = {"tool_calls": [_openai_call(call) for call in calls]} if calls else {}
    message = ChatMessage(role=MessageRole.ASSISTANT, blocks=blocks, additional_kwargs=more)
    return ChatResponse(message=message, **fields)


class GrowingAnswer(Generic[R]):
    """One answer, from its first increment to its last.

    Args:
        form: Makes the responses, of what was told so far and their other fields.
        parser: Tells text, thoughts and calls apart.
        facts: What the last response's `raw` tells beside usage and finish reason.
        describe: Says what was applied, `Personalization.describe`.
        tool_names: The tools' own names, by those that the model was told.
    """

    def __init__(
        self,
        form: Callable[..., R],
        parser: AnswerParser,
        facts: Mapping[str, Any],
        describe: Callable[..., dict[str, Any]],
        tool_names: Mapping[str, str],
    ) -> None:
        self.logprobs: list[list[LogProb]] = []
        self._form = form
        self._parser = parser
        self._facts = facts
        self._describe = describe
        self._fractions: list[float | None] = []
        self._tool_names = tool_names
        self._told = Told()
        self._invalid: list[dict[str, Any]] = []

    def add(self, increment: Increment) -> R:
        """The answer so far; with finish reason and usage once this was the last increment."""
        pieces = list(self._parser.push(increment.text))
        if increment.usage is not None:
            pieces += self._parser.flush()
        before = Told(self._told.text, self._told.thoughts)
        for piece in pieces:
            self._read(piece)
        self._fractions += increment.guidance_fractions
        logprobs = [_candidates(told) for told in increment.logprobs]
        self.logprobs += logprobs
        fields: dict[str, Any] = {"additional_kwargs": {}}
        if thoughts := self._told.thoughts[len(before.thoughts) :]:
            fields["additional_kwargs"]["thinking_delta"] = thoughts
        if increment.usage is not None:
            usage = _usage(increment)
            fields["raw"] = self._raw(increment, usage)
            fields["additional_kwargs"] |= usage
        delta = self._told.text[len(before.text) :]
        return self._form(self._told, delta=delta, logprobs=logprobs or None, **fields)

    def whole(self, last: R) -> R:
        """The last response as that of a call which does not stream."""
        last.delta = None
        last.logprobs = self.logprobs or None
        last.additional_kwargs.pop("thinking_delta", None)
        return last

    def _read(self, piece: Piece) -> None:
        told = self._told
        match piece:
            case TextPiece():
                told.text += piece.text
            case ReasoningPiece():
                told.thoughts += piece.text
            case CallPiece():
                if (call := told.calls.get(piece.index)) is None:
                    name = piece.name or ""
                    call_id = f"call_{uuid4().hex[:24]}"
                    call = Call(self._tool_names.get(name, name), call_id)
                    told.calls[piece.index] = call
                call.text += piece.arguments
                call.arguments = parse_growing(call.text, call.arguments)
            case InvalidCallPiece():
                # It cannot be made; what the model wrote is shown, so that nothing is lost.
                told.calls.pop(piece.index, None)
                told.text += piece.text
                self._invalid.append({"name": piece.name, "text": piece.text, "error": piece.error})

    def _raw(self, increment: Increment, usage: dict[str, int]) -> dict[str, Any]:
        called = self._told.calls and increment.finish_reason == "stop"
        raw = {
            "finish_reason": "tool_calls" if called else increment.finish_reason,
            "usage": usage,
            **self._facts,
            "amulet": self._describe(fractions=self._fractions),
        }
        if increment.shortened:
            raw["shortened"] = True
        if self._invalid:
            raw["invalid_tool_calls"] = self._invalid
        return raw


def _usage(increment: Increment) -> dict[str, int]:
    assert increment.usage is not None  # noqa: S101 - on the last increment only
    return {
        "prompt_tokens": increment.usage.prompt_tokens,
        "completion_tokens": increment.usage.completion_tokens,
        "total_tokens": increment.usage.total_tokens,
    }


def _openai_call(call: Call) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.text or json.dumps(call.arguments)}
    return {"id": call.id, "type": "function", "function": function}


def _candidates(told: TokenLogprob) -> list[LogProb]:
    """The token that was drawn, then the likeliest others."""
    others = [other for other in told.top if other.token_id != told.token_id]
    return [_logprob(one) for one in (told, *others)]


def _logprob(told: TokenLogprob) -> LogProb:
    return LogProb(token=told.token, logprob=told.finite_logprob, bytes=told.utf8 or [])
