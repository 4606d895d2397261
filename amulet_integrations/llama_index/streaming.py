"""The engine's increments in, LlamaIndex's responses out."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

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
from pydantic_core import from_json

from amulet_integrations.concurrency.bind_context import aclosing_all
from amulet_integrations.engine import Increment
from amulet_integrations.engine.result import TokenLogprob
from amulet_integrations.personalization.prepared_call import PreparedAnswer
from amulet_integrations.prompting.openai_compat.openai_tools import new_call_id
from amulet_integrations.prompting.parsing.pieces import (
    CallPiece,
    InvalidCallPiece,
    Piece,
    ReasoningPiece,
    TextPiece,
)

R = TypeVar("R", bound=ChatResponse | CompletionResponse)
S = TypeVar("S")
T = TypeVar("T")
Coro = Coroutine[Any, Any, T]

_INCOMPLETE_NUMBER_END = re.compile(r"(?<=[0-9])(?:\.|\.?[eE][+-]?)$")
"""What a JSON number cannot end with; without it the number has a value already."""


@dataclass
class PartialCall:
    """A tool call while it is being written."""

    name: str
    id: str
    text: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)

    def to_openai(self) -> dict[str, Any]:
        """The call in OpenAI's form."""
        function = {"name": self.name, "arguments": self.text or "{}"}
        return {"id": self.id, "type": "function", "function": function}


@dataclass
class PartialAnswer:
    """An answer while it is being written."""

    text: str = ""
    thoughts: str = ""
    calls: dict[int, PartialCall] = field(default_factory=dict)


def completion_response(answer: PartialAnswer, **fields: Any) -> CompletionResponse:
    """What `complete` and its siblings return."""
    return CompletionResponse(text=answer.text, **fields)


def chat_response(answer: PartialAnswer, **fields: Any) -> ChatResponse:
    """What `chat` and its siblings return; LlamaIndex reads calls in either of two places."""
    calls = list(answer.calls.values())
    blocks: list[ContentBlock] = []
    if answer.thoughts:
        blocks.append(ThinkingBlock(content=answer.thoughts))
    if answer.text or not calls:
        blocks.append(TextBlock(text=answer.text))
    blocks += [
        ToolCallBlock(tool_call_id=call.id, tool_name=call.name, tool_kwargs=call.arguments)
        for call in calls
    ]
    kwargs = {"tool_calls": [call.to_openai() for call in calls]} if calls else {}
    message = ChatMessage(role=MessageRole.ASSISTANT, blocks=blocks, additional_kwargs=kwargs)
    return ChatResponse(message=message, **fields)


@dataclass
class ResponseBuilder(Generic[R]):
    """Builds the responses of one answer, from its first increment to its last.

    Attributes:
        prepared: The request, which is decoded when the responses are read.
        make_response: `chat_response` or `completion_response`.
        tool_names: The tools' original names, by those in the prompt.
    """

    prepared: PreparedAnswer
    make_response: Callable[..., R]
    tool_names: Mapping[str, str]
    _answer: PartialAnswer = field(default_factory=PartialAnswer, init=False)
    _logprobs: list[list[LogProb]] = field(default_factory=list, init=False)
    _invalid_calls: list[dict[str, Any]] = field(default_factory=list, init=False)

    def responses(self) -> Generator[R, None, None]:
        """The answer as it grows; the last response has the finish reason and the usage."""
        return self.prepared.stream(self._add)

    def aresponses(self) -> AsyncGenerator[R, None]:
        """As `responses`, for asyncio."""
        return self.prepared.astream(self._add)

    def finish(self, last: R) -> R:
        """Makes the last response of a stream that of a call which does not stream."""
        last.delta = None
        last.logprobs = self._logprobs or None
        last.additional_kwargs.pop("thinking_delta", None)
        return last

    def _add(self, increment: Increment) -> list[R]:
        text_length, thoughts_length = len(self._answer.text), len(self._answer.thoughts)
        for piece in self.prepared.read(increment):
            self._add_piece(piece)
        logprobs = [_candidates(token) for token in increment.logprobs]
        self._logprobs += logprobs
        fields: dict[str, Any] = {"additional_kwargs": {}}
        if thoughts := self._answer.thoughts[thoughts_length:]:
            fields["additional_kwargs"]["thinking_delta"] = thoughts
        if increment.usage is not None:
            fields["raw"] = self._raw(increment)
            fields["additional_kwargs"] |= fields["raw"]["usage"]
        delta = self._answer.text[text_length:]
        return [self.make_response(self._answer, delta=delta, logprobs=logprobs or None, **fields)]

    def _add_piece(self, piece: Piece) -> None:
        answer = self._answer
        match piece:
            case TextPiece():
                answer.text += piece.text
            case ReasoningPiece():
                answer.thoughts += piece.text
            case CallPiece():
                if (call := answer.calls.get(piece.index)) is None:
                    name = piece.name or ""
                    call_id = new_call_id()
                    call = PartialCall(self.tool_names.get(name, name), call_id)
                    answer.calls[piece.index] = call
                call.text += piece.arguments
                call.arguments = parse_partial_object(call.text, call.arguments)
            case InvalidCallPiece(text=text, name=name, error=error):
                # The call cannot be made; its text is shown, so that nothing is lost.
                answer.calls.pop(piece.index, None)
                answer.text += text
                self._invalid_calls.append({"name": name, "text": text, "error": error})

    def _raw(self, last: Increment) -> dict[str, Any]:
        assert last.usage is not None  # noqa: S101 - the last increment has it
        usage = {
            "prompt_tokens": last.usage.prompt_tokens,
            "completion_tokens": last.usage.completion_tokens,
            "total_tokens": last.usage.total_tokens,
        }
        raw = self.prepared.metadata(
            last,
            has_calls=bool(self._answer.calls),
            usage=usage,
            model=self.prepared.engine.model_name,
        )
        if self._invalid_calls:
            raw["invalid_tool_calls"] = self._invalid_calls
        return raw


def parse_partial_object(text: str, before: dict[str, Any]) -> dict[str, Any]:
    """Parses a JSON object that is still being written; its last value may be incomplete.

    Args:
        text: All of the text so far.
        before: What was parsed of it a moment ago.

    Returns:
        The object so far; `before` where the text contains none yet.
    """
    try:
        found = from_json(_INCOMPLETE_NUMBER_END.sub("", text), allow_partial="trailing-strings")
    except ValueError:
        return before
    return found if isinstance(found, dict) else before


def flat_map(
    stream: Generator[T, None, None], function: Callable[[T], Iterable[S]]
) -> Generator[S, None, None]:
    """Yields what `function` makes of each item; closing the generator closes the stream."""
    with closing(stream):
        for item in stream:
            yield from function(item)


async def aflat_map(
    stream: AsyncGenerator[T, None], function: Callable[[T], Iterable[S]]
) -> AsyncGenerator[S, None]:
    """As `flat_map`, for asyncio."""
    async with aclosing_all(stream):
        async for item in stream:
            for made in function(item):
                yield made


async def map_awaited(coroutine: Coro[T], function: Callable[[T], S]) -> S:
    """Awaits a coroutine and returns what `function` makes of its result."""
    return function(await coroutine)


def _candidates(token: TokenLogprob) -> list[LogProb]:
    """The token that was drawn, then the likeliest others."""
    others = [other for other in token.top if other.token_id != token.token_id]
    return [
        LogProb(token=candidate.token, logprob=candidate.finite_logprob, bytes=candidate.utf8 or [])
        for candidate in (token, *others)
    ]
