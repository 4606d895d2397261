"""The engine's increments in, LangChain's chunks out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, InvalidToolCall, ToolCallChunk
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import invalid_tool_call, tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.utils.json import parse_partial_json

from amulet_integrations.engine.result import Increment, TokenLogprob, Usage
from amulet_integrations.personalization.prepared_call import PreparedAnswer
from amulet_integrations.prompting.openai_compat.openai_tools import new_call_id
from amulet_integrations.prompting.parsing.pieces import (
    CallPiece,
    InvalidCallPiece,
    Piece,
    ReasoningPiece,
)

_INVALID_ENDS = ("", "]", "}", '"]', '"}', '\\"]', '\\"}')


@dataclass
class ChunkStream:
    """One answer as LangChain's chunks; to be read once.

    Attributes:
        answer: The request, and what reads the answer.
        as_blocks: Whether text and reasoning are content blocks with an index, as LangChain's
            output version "v1" needs; otherwise the content is plain text.
        include_usage: Whether the last chunk counts the tokens.
    """

    answer: PreparedAnswer
    as_blocks: bool
    include_usage: bool
    _block: tuple[type, int] | None = field(default=None, init=False)
    _block_index: int = field(default=-1, init=False)
    _calls: dict[int, _Call] = field(default_factory=dict, init=False)
    _invalid_calls: list[InvalidToolCall] = field(default_factory=list, init=False)
    _logprobs: list[dict[str, Any]] = field(default_factory=list, init=False)

    def chunks(self) -> Generator[ChatGenerationChunk, None, None]:
        """The answer as it grows; closing the generator ends the decoding."""
        return self.answer.stream(self._convert)

    def achunks(self) -> AsyncGenerator[ChatGenerationChunk, None]:
        """`chunks` for asyncio."""
        return self.answer.astream(self._convert)

    def complete(self, result: ChatResult) -> ChatResult:
        """Adds to a whole answer what its chunks could not carry."""
        message = result.generations[0].message
        if isinstance(message, AIMessage) and self._invalid_calls:
            message.invalid_tool_calls = self._invalid_calls
        return result

    def _convert(self, increment: Increment) -> Iterator[ChatGenerationChunk]:
        """The chunks of one increment; there may be none, except for the last increment."""
        self._logprobs += map(_openai_logprob, increment.logprobs)
        blocks = groupby(self.answer.read(increment), key=self._next_block)
        messages = [self._message(index, list(pieces)) for index, pieces in blocks]
        if increment.usage is not None:
            # LangChain takes the last chunk for a whole answer, so it may not be part of a call.
            if not messages or messages[-1].tool_call_chunks:
                messages.append(self._chunk([] if self.as_blocks else ""))
            self._finish(messages[-1], increment, increment.usage)
        for message in messages:
            if self._logprobs:
                message.response_metadata["logprobs"] = {"content": self._logprobs}
                self._logprobs = []
            yield ChatGenerationChunk(message=message)

    def _next_block(self, piece: Piece) -> int:
        """The index of the content block that a piece belongs to."""
        block: tuple[type, int] = (type(piece), 0)
        if isinstance(piece, CallPiece | InvalidCallPiece):
            block = (CallPiece, piece.index)
        if block != self._block:
            self._block = block
            self._block_index += 1
        return self._block_index

    def _message(self, block: int, pieces: Sequence[Piece]) -> AIMessageChunk:
        """One chunk for the pieces of one block."""
        calls = [piece for piece in pieces if isinstance(piece, CallPiece | InvalidCallPiece)]
        if calls:
            chunk = self._call_chunk(block, calls)
            content = [dict(chunk)] if self.as_blocks else ""
            return self._chunk(content, tool_call_chunks=[chunk])
        text = "".join(getattr(piece, "text", "") for piece in pieces)
        if isinstance(pieces[0], ReasoningPiece):
            reasoning = [{"type": "reasoning", "reasoning": text, "index": block}]
            return self._chunk(
                reasoning if self.as_blocks else "",
                additional_kwargs={"reasoning_content": text},
            )
        return self._chunk(
            [{"type": "text", "text": text, "index": block}] if self.as_blocks else text
        )

    def _chunk(self, content: Any, **fields: Any) -> AIMessageChunk:
        # LangChain takes the blocks as they are if this says that they are its own.
        metadata = {"output_version": "v1"} if self.as_blocks else {}
        return AIMessageChunk(content=content, response_metadata=metadata, **fields)

    def _call_chunk(
        self, block: int, pieces: Sequence[CallPiece | InvalidCallPiece]
    ) -> ToolCallChunk:
        """The part of a call that some pieces add to it."""
        # Among blocks, LangChain would merge a call with a text of the same index.
        index = block if self.as_blocks else pieces[0].index
        call = self._calls.setdefault(pieces[0].index, _Call())
        before = replace(call)
        for piece in pieces:
            call.name = call.name or piece.name
            call.id = call.id or new_call_id()
            if isinstance(piece, CallPiece):
                call.arguments += piece.arguments
            else:
                self._invalidate(call, piece, is_new=before.id == "" and len(pieces) == 1)
        return tool_call_chunk(
            name=None if before.name else call.name,
            args=call.arguments[len(before.arguments) :],
            id=None if before.id else call.id,
            index=index,
        )

    def _invalidate(self, call: _Call, piece: InvalidCallPiece, *, is_new: bool) -> None:
        """Makes the arguments unreadable; LangChain would complete JSON that breaks off."""
        written = piece.text if is_new else call.arguments
        self._invalid_calls.append(
            invalid_tool_call(name=call.name, args=written, id=call.id, error=piece.error)
        )
        call.arguments = _unreadable(written)

    def _finish(self, message: AIMessageChunk, last: Increment, usage: Usage) -> None:
        has_calls = len(self._calls) > len(self._invalid_calls)
        message.response_metadata |= self.answer.metadata(
            last, has_calls=has_calls, model_name=self.answer.engine.model_name
        )
        message.chunk_position = "last"
        if self.include_usage:
            message.usage_metadata = UsageMetadata(
                input_tokens=usage.prompt_tokens,
                output_tokens=usage.completion_tokens,
                total_tokens=usage.total_tokens,
            )


@dataclass
class _Call:
    """A tool call as far as it has been written."""

    id: str = ""
    name: str | None = None
    arguments: str = ""


def _unreadable(arguments: str) -> str:
    """Arguments with an end that keeps LangChain's lenient parser from reading an object."""
    candidates = ((arguments or "]") + end for end in _INVALID_ENDS)
    return next(text for text in candidates if not _reads_as_object(text))


def _reads_as_object(arguments: str) -> bool:
    try:
        return isinstance(parse_partial_json(arguments), dict)
    except ValueError:
        return False


def _openai_logprob(logprob: TokenLogprob) -> dict[str, Any]:
    return {**_openai_token(logprob), "top_logprobs": [_openai_token(it) for it in logprob.top]}


def _openai_token(logprob: TokenLogprob) -> dict[str, Any]:
    return {"token": logprob.token, "logprob": logprob.finite_logprob, "bytes": logprob.utf8}
