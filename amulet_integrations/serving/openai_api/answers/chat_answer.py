"""The answers of a chat, whole and in chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from amulet_integrations.engine.result import TokenLogprob
from amulet_integrations.serving.openai_api.requests.chat_request import ChatRequest

from .answer_format import AnswerFormat
from .answer_reader import AnswerPart, CallPart, WholeAnswer
from .answer_types import (
    ChatChoice,
    ChatCompletion,
    ChatCompletionChunk,
    ChatDelta,
    ChatLogprob,
    ChatLogprobs,
    ChatMessageAnswer,
    ChunkChoice,
    FinishReason,
    FunctionCall,
    ToolCallAnswer,
    ToolCallDelta,
    TopLogprob,
    Usage,
)


@dataclass
class ChatFormat(AnswerFormat[ChatRequest]):
    """Writes the answers of a chat."""

    id_prefix: ClassVar[str] = "chatcmpl"
    _begun: set[int] = field(default_factory=set, init=False)

    def _chunks(self, choice: int, part: AnswerPart) -> Iterator[ChatCompletionChunk]:
        changes = _changes(part)
        if choice not in self._begun:
            self._begun.add(choice)
            opening = {"content": None if part.calls else "", "refusal": None}
            changes = {"role": "assistant", **opening, **changes}
        if part.end is None:
            if changes or part.logprobs or part.tokens:
                yield self._chunk(choice, part, changes)
            return
        if changes or part.logprobs:
            open_part = AnswerPart(logprobs=part.logprobs)
            yield self._chunk(choice, open_part, changes)
        # As in OpenAI's streams, the reason stands in a chunk of its own.
        end = AnswerPart(tokens=part.tokens, end=part.end)
        yield self._chunk(choice, end, {}, part.end.finish_reason)

    def _chunk(
        self,
        choice: int,
        part: AnswerPart,
        changes: dict[str, Any],
        reason: FinishReason | None = None,
    ) -> ChatCompletionChunk:
        answer = ChunkChoice(
            index=choice,
            delta=ChatDelta(**changes),
            logprobs=_logprobs(part.logprobs),
            finish_reason=reason,
        )
        return ChatCompletionChunk(
            **self._chunk_head(),
            object="chat.completion.chunk",
            choices=[answer],
            **self._part_report(part),
        )

    def _usage_chunk(self, usage: Usage) -> ChatCompletionChunk:
        head = {**self._chunk_head(), "usage": usage}
        return ChatCompletionChunk(**head, object="chat.completion.chunk", choices=[])

    def _whole(self, answers: Sequence[WholeAnswer], usage: Usage) -> ChatCompletion:
        choices = [
            self._choice(index, it, is_alone=len(answers) == 1) for index, it in enumerate(answers)
        ]
        return ChatCompletion(
            **self._head,
            object="chat.completion",
            choices=choices,
            usage=usage,
            amulet=self._report(answers[0].end, answers[0].tokens),
        )

    def _choice(self, index: int, answer: WholeAnswer, *, is_alone: bool) -> ChatChoice:
        calls = [
            ToolCallAnswer(
                id=call.id,
                type="function",
                function=FunctionCall(name=call.name, arguments=call.arguments),
            )
            for call in answer.calls
        ]
        thoughts = {"reasoning_content": answer.reasoning} if answer.reasoning else {}
        message = ChatMessageAnswer(
            role="assistant",
            content=answer.text if answer.text or not calls else None,
            refusal=None,
            **thoughts,
            **({"tool_calls": calls} if calls else {}),
        )
        return ChatChoice(
            index=index,
            message=message,
            logprobs=_logprobs(answer.logprobs),
            finish_reason=answer.end.finish_reason,
            **({} if is_alone else {"amulet": self._report(answer.end, answer.tokens)}),
        )


def _changes(part: AnswerPart) -> dict[str, Any]:
    """What a part adds to the message."""
    changes: dict[str, Any] = {}
    if part.text:
        changes["content"] = part.text
    if part.reasoning:
        changes["reasoning_content"] = part.reasoning
    if part.calls:
        changes["tool_calls"] = [_call_delta(call) for call in part.calls]
    return changes


def _call_delta(call: CallPart) -> ToolCallDelta:
    if call.id is None:
        return ToolCallDelta(index=call.index, function=FunctionCall(arguments=call.arguments))
    return ToolCallDelta(
        index=call.index,
        id=call.id,
        type="function",
        function=FunctionCall(name=call.name or "", arguments=call.arguments),
    )


def _logprobs(tokens: Sequence[TokenLogprob]) -> ChatLogprobs | None:
    if not tokens:
        return None
    content = [
        ChatLogprob(**_token(it), top_logprobs=[TopLogprob(**_token(top)) for top in it.top])
        for it in tokens
    ]
    return ChatLogprobs(content=content, refusal=None)


def _token(it: TokenLogprob) -> dict[str, Any]:
    return {"token": it.token, "logprob": it.finite_logprob, "bytes": it.utf8}
