"""The engine's increments in, the parts of one answer out."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import cast

from amulet_integrations.decoding.detokenizer import IncrementalDetokenizer
from amulet_integrations.engine.result import Increment, TokenExplanation, TokenLogprob, Usage
from amulet_integrations.personalization.explained_answers import EXPLANATION_ID
from amulet_integrations.personalization.prepared_call import PreparedAnswer
from amulet_integrations.prompting.openai_compat.openai_tools import new_call_id
from amulet_integrations.prompting.parsing.pieces import (
    CallPiece,
    InvalidCallPiece,
    Piece,
    ReasoningPiece,
    TextPiece,
)

from .answer_types import AmuletReport, FinishReason, InvalidCall, TokenFacts


@dataclass(slots=True)
class CallPart:
    """The next part of a tool call.

    Attributes:
        index: The number of the call in the answer, from 0.
        id: Its id; in the first part only.
        name: The tool; in the first part only.
        arguments: The next part of the arguments' JSON text.
    """

    index: int
    id: str | None
    name: str | None
    arguments: str


@dataclass(slots=True)
class AnswerEnd:
    """What is known when an answer is finished.

    Attributes:
        finish_reason: Why it ended.
        usage: Its tokens.
        report: What was applied.
    """

    finish_reason: FinishReason
    usage: Usage
    report: AmuletReport


@dataclass(slots=True)
class AnswerPart:
    """What one increment adds to an answer; the sum of all parts is the answer.

    Attributes:
        text: The text that the user reads.
        reasoning: What the model thought.
        calls: Parts of tool calls.
        logprobs: One for each token, if they were requested.
        tokens: The same of explanations.
        end: In the last part only.
    """

    text: str = ""
    reasoning: str = ""
    calls: list[CallPart] = field(default_factory=list)
    logprobs: tuple[TokenLogprob, ...] = ()
    tokens: list[TokenFacts] = field(default_factory=list)
    end: AnswerEnd | None = None


class AnswerReader:
    """Reads one answer, once.

    Args:
        prepared: The request, which is decoded when the parts are read.
    """

    def __init__(self, prepared: PreparedAnswer) -> None:
        self._prepared = prepared
        self._call_indexes: dict[int, int] = {}  # of the calls that the client sees
        self._invalid: list[InvalidCall] = []
        self._explains = prepared.request.explain is not None
        tokenizer = prepared.engine.tokenizer
        self._detokenizer = IncrementalDetokenizer(tokenizer) if self._explains else None

    def parts(self) -> AsyncGenerator[AnswerPart, None]:
        """The answer as it grows; closing the generator ends the decoding."""
        return self._prepared.astream(lambda increment: [self._read(increment)])

    def _read(self, increment: Increment) -> AnswerPart:
        part = AnswerPart(logprobs=increment.logprobs)
        for piece in self._prepared.read(increment):
            self._add(part, piece)
        if increment.explanations:
            part.tokens = [self._facts(token) for token in increment.explanations]
        if increment.usage is not None:
            if part.tokens and self._detokenizer is not None:
                part.tokens[-1].text += self._detokenizer.flush()
            part.end = self._end(increment, increment.usage)
        return part

    def _add(self, part: AnswerPart, piece: Piece) -> None:
        match piece:
            case TextPiece():
                part.text += piece.text
            case ReasoningPiece():
                part.reasoning += piece.text
            case CallPiece():
                part.calls.append(self._call(piece))
            case InvalidCallPiece(index=index, text=text, name=name, error=error):
                # What has been sent of a call cannot be taken back. What has not is shown as text.
                shown = self._call_indexes.get(index)
                if shown is None:
                    part.text += text
                at = len(self._call_indexes) if shown is None else shown
                self._invalid.append(InvalidCall(index=at, name=name, error=error))

    def _call(self, piece: CallPiece) -> CallPart:
        is_new = piece.index not in self._call_indexes
        index = self._call_indexes.setdefault(piece.index, len(self._call_indexes))
        call_id = new_call_id() if is_new else None
        return CallPart(index, call_id, piece.name, piece.arguments)

    def _facts(self, token: TokenExplanation) -> TokenFacts:
        assert self._detokenizer is not None  # noqa: S101 - explained answers have one
        infinite = token.kl_from_base == float("inf")
        return TokenFacts(
            token=token.policy.token,
            text=self._detokenizer.push(token.policy.token_id),
            logprob=token.policy.finite_logprob,
            base_logprob=token.base.finite_logprob,
            pref_logprob=None if token.pref is None else token.pref.finite_logprob,
            kl_from_base=None if infinite else token.kl_from_base,
        )

    def _end(self, last: Increment, usage: Usage) -> AnswerEnd:
        described = self._prepared.metadata(last, has_calls=bool(self._call_indexes))
        applied = described["amulet"]
        applied.pop(EXPLANATION_ID, None)  # it can be looked up in this process only
        if last.shortened:
            applied["shortened"] = True
        if self._invalid:
            applied["invalid_tool_calls"] = self._invalid
        reason = cast("FinishReason", described["finish_reason"])
        report = AmuletReport(**applied, backend=described.get("backend"))
        return AnswerEnd(reason, usage, report)


@dataclass(slots=True)
class WrittenCall:
    """A tool call as far as it has been written."""

    id: str
    name: str
    arguments: str = ""


class WholeAnswer:
    """The sum of an answer's parts."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self.calls: list[WrittenCall] = []
        self.logprobs: list[TokenLogprob] = []
        self.tokens: list[TokenFacts] = []
        self._end: AnswerEnd | None = None

    def add(self, part: AnswerPart) -> None:
        """Adds the next part."""
        self._text.append(part.text)
        self._reasoning.append(part.reasoning)
        self.logprobs += part.logprobs
        self.tokens += part.tokens
        for call in part.calls:
            if call.id is not None:
                self.calls.append(WrittenCall(call.id, call.name or ""))
            self.calls[call.index].arguments += call.arguments
        self._end = part.end

    @property
    def text(self) -> str:
        """The text that the user reads."""
        return "".join(self._text)

    @property
    def reasoning(self) -> str:
        """What the model thought."""
        return "".join(self._reasoning)

    @property
    def end(self) -> AnswerEnd:
        """What is known of a finished answer."""
        assert self._end is not None  # noqa: S101 - it is read when the parts are over
        return self._end
