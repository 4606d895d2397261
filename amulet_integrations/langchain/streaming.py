"""The engine's increments in, LangChain's chunks out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from langchain_core.messages import AIMessageChunk, InvalidToolCall, ToolCallChunk
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import invalid_tool_call, tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.utils.json import parse_partial_json

from amulet_integrations.engine.result import Increment, TokenLogprob, Usage
from amulet_integrations.prompting.parsing.pieces import (
    CallPiece,
    InvalidCallPiece,
    Piece,
    ReasoningPiece,
)

if TYPE_CHECKING:
    from amulet_integrations.prompting import AnswerParser

_SPOILERS = ("", "]", "}", '"]', '"}', '\\"]', '\\"}')


class AnswerWriter:
    """Writes the chunks of one answer.

    Args:
        parser: Tells text, thoughts and calls apart.
        facts: What the last chunk's `response_metadata` tells beside the finish reason.
        describe: Says what was applied, `Personalization.describe`.
        as_blocks: Whether text and thoughts are written as content blocks with an index, as
            LangChain's output version "v1" wants; otherwise as plain text.
        tell_usage: Whether the last chunk counts the tokens.

    Attributes:
        invalid: Calls that cannot be made, as the model wrote them.
    """

    def __init__(
        self,
        parser: AnswerParser,
        facts: dict[str, Any],
        *,
        describe: Callable[..., dict[str, Any]],
        as_blocks: bool = False,
        tell_usage: bool = True,
    ) -> None:
        self.invalid: list[InvalidToolCall] = []
        self._parser = parser
        self._facts = facts
        self._describe = describe
        self._fractions: list[float | None] = []
        self._as_blocks = as_blocks
        self._tell_usage = tell_usage
        self._block: tuple[type, int] | None = None
        self._block_index = -1
        self._calls: dict[int, _Call] = {}
        self._logprobs: list[dict[str, Any]] = []

    def chunks(self, increment: Increment) -> Iterator[ChatGenerationChunk]:
        """Translates one step; steps that bring nothing make no chunk, but for the last."""
        self._logprobs += [_openai_logprob(told) for told in increment.logprobs]
        self._fractions += increment.guidance_fractions
        pieces = list(self._parser.push(increment.text))
        if increment.usage is not None:
            pieces += self._parser.flush()
        blocks = groupby(pieces, key=self._next_block)
        messages = [self._message(block, list(group)) for block, group in blocks]
        if increment.usage is not None:
            # Chunks of calls are never the last: LangChain would take what it has for the whole.
            if not messages or messages[-1].tool_call_chunks:
                messages.append(AIMessageChunk(content=""))
            self._close(messages[-1], increment, increment.usage)
        for message in messages:
            if self._logprobs:
                message.response_metadata["logprobs"] = {"content": self._logprobs}
                self._logprobs = []
            yield ChatGenerationChunk(message=message)

    def _next_block(self, piece: Piece) -> int:
        """The place among the answer's content blocks where a piece belongs."""
        block: tuple[type, int] = (type(piece), 0)
        if isinstance(piece, CallPiece | InvalidCallPiece):
            block = (CallPiece, piece.index)
        if block != self._block:
            self._block = block
            self._block_index += 1
        return self._block_index

    def _message(self, block: int, pieces: Sequence[Piece]) -> AIMessageChunk:
        """One chunk for pieces of one block."""
        calls = [piece for piece in pieces if isinstance(piece, CallPiece | InvalidCallPiece)]
        if calls:
            return AIMessageChunk(content="", tool_call_chunks=[self._call_chunk(block, calls)])
        text = "".join(getattr(piece, "text", "") for piece in pieces)
        if isinstance(pieces[0], ReasoningPiece):
            return AIMessageChunk(
                content=[{"type": "reasoning", "reasoning": text, "index": block}]
                if self._as_blocks
                else "",
                additional_kwargs={"reasoning_content": text},
            )
        return AIMessageChunk(
            content=[{"type": "text", "text": text, "index": block}] if self._as_blocks else text
        )

    def _call_chunk(
        self, block: int, pieces: Sequence[CallPiece | InvalidCallPiece]
    ) -> ToolCallChunk:
        """What pieces of one call add to it."""
        # Among blocks, a call that had the index of a text would be merged with it.
        index = block if self._as_blocks else pieces[0].index
        call = self._calls.setdefault(pieces[0].index, _Call(index))
        before = replace(call)
        for piece in pieces:
            call.name = call.name or piece.name
            call.id = call.id or f"call_{uuid4().hex[:24]}"
            if isinstance(piece, CallPiece):
                call.arguments += piece.arguments
            else:
                self._spoil(call, piece, is_new=before.id == "" and len(pieces) == 1)
        return tool_call_chunk(
            name=None if before.name else call.name,
            args=call.arguments[len(before.arguments) :],
            id=None if before.id else call.id,
            index=index,
        )

    def _spoil(self, call: _Call, piece: InvalidCallPiece, *, is_new: bool) -> None:
        """Makes LangChain see that a call is none; it would mend JSON that breaks off."""
        written = piece.text if is_new else call.arguments
        self.invalid.append(
            invalid_tool_call(name=call.name, args=written, id=call.id, error=piece.error)
        )
        call.arguments = _spoilt(written)

    def _close(self, message: AIMessageChunk, increment: Increment, usage: Usage) -> None:
        valid = len(self._calls) > len(self.invalid)
        reason = increment.finish_reason
        message.response_metadata = {
            "finish_reason": "tool_calls" if valid and reason == "stop" else reason,
            **self._facts,
            "amulet": self._describe(fractions=self._fractions),
        }
        if increment.shortened:
            message.response_metadata["shortened"] = True
        message.chunk_position = "last"
        if self._tell_usage:
            message.usage_metadata = UsageMetadata(
                input_tokens=usage.prompt_tokens,
                output_tokens=usage.completion_tokens,
                total_tokens=usage.total_tokens,
            )


@dataclass
class _Call:
    """What has been told of one call."""

    index: int
    id: str = ""
    name: str | None = None
    arguments: str = ""


def _spoilt(arguments: str) -> str:
    """Arguments with an end that keeps LangChain's lenient parser from reading an object."""
    return next(text for end in _SPOILERS if not _reads_as_object(text := (arguments or "]") + end))


def _reads_as_object(arguments: str) -> bool:
    try:
        return isinstance(parse_partial_json(arguments), dict)
    except ValueError:
        return False


def _openai_logprob(told: TokenLogprob) -> dict[str, Any]:
    return {**_openai_token(told), "top_logprobs": [_openai_token(other) for other in told.top]}


def _openai_token(told: TokenLogprob) -> dict[str, Any]:
    return {"token": told.token, "logprob": told.finite_logprob, "bytes": told.utf8}
