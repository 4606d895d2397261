"""The answers of completions, whole and in chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, cast

from amulet_integrations.engine.result import TokenLogprob
from amulet_integrations.serving.openai_api.requests.completion_request import CompletionRequest

from .answer_format import AnswerFormat
from .answer_reader import AnswerEnd, AnswerPart, WholeAnswer
from .answer_types import Completion, CompletionChoice, CompletionLogprobs, Usage


@dataclass
class CompletionFormat(AnswerFormat[CompletionRequest]):
    """Writes the answers of completions."""

    id_prefix: ClassVar[str] = "cmpl"
    _offsets: dict[int, int] = field(default_factory=dict, init=False)

    def _chunks(self, choice: int, part: AnswerPart) -> Iterator[Completion]:
        text = part.text if choice in self._offsets else self._echoed(choice) + part.text
        if text or part.logprobs or part.tokens or part.end or choice not in self._offsets:
            answer = self._choice(choice, text, part.logprobs, part.end)
            yield self._completion(self._chunk_head(), [answer], **self._part_report(part))

    def _usage_chunk(self, usage: Usage) -> Completion:
        return self._completion({**self._chunk_head(), "usage": usage}, [])

    def _whole(self, answers: Sequence[WholeAnswer], usage: Usage) -> Completion:
        choices = []
        for index, answer in enumerate(answers):
            text = self._echoed(index) + answer.text
            choice = self._choice(index, text, answer.logprobs, answer.end)
            if len(answers) > 1:
                choice.amulet = self._report(answer.end, answer.tokens)
            choices.append(choice)
        report = self._report(answers[0].end, answers[0].tokens)
        return self._completion({**self._head, "usage": usage}, choices, amulet=report)

    def _completion(
        self, head: dict[str, Any], choices: list[CompletionChoice], **report: Any
    ) -> Completion:
        return Completion(**head, object="text_completion", choices=choices, **report)

    def _choice(
        self, index: int, text: str, logprobs: Sequence[TokenLogprob], end: AnswerEnd | None
    ) -> CompletionChoice:
        offset = self._offsets.setdefault(index, 0)
        found = self._logprobs(logprobs, offset)
        self._offsets[index] = offset + sum(len(it.token) for it in logprobs)
        reason = None if end is None else cast("Literal['stop', 'length']", end.finish_reason)
        return CompletionChoice(index=index, text=text, logprobs=found, finish_reason=reason)

    def _echoed(self, index: int) -> str:
        """What a text begins with: its prompt, where the request wants it."""
        return self.request.prompts[index // self.request.choices] if self.request.echo else ""

    def _logprobs(self, tokens: Sequence[TokenLogprob], start: int) -> CompletionLogprobs | None:
        if not tokens:
            return None
        offsets = [start]
        for token in tokens[:-1]:
            offsets.append(offsets[-1] + len(token.token))
        return CompletionLogprobs(
            tokens=[it.token for it in tokens],
            token_logprobs=[it.finite_logprob for it in tokens],
            top_logprobs=[_likeliest(it) for it in tokens] if self.request.logprobs else None,
            text_offset=offsets,
        )


def _likeliest(token: TokenLogprob) -> dict[str, float]:
    """The likeliest tokens and the token itself; of those that look alike, the likelier one."""
    likelier_last = [*reversed(token.top), token]
    return {it.token: it.finite_logprob for it in likelier_last}
