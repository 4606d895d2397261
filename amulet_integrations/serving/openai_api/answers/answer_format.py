"""What chats and completions share in how answers are written."""

from __future__ import annotations

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar
from uuid import uuid4

from pydantic import BaseModel

from amulet_integrations.engine.result import Usage as EngineUsage
from amulet_integrations.serving.openai_api.requests.generation_options import GenerationOptions

from .answer_reader import AnswerEnd, AnswerPart, WholeAnswer
from .answer_types import AmuletReport, PromptTokensDetails, TokenFacts, Usage

R = TypeVar("R", bound=GenerationOptions)


@dataclass
class AnswerFormat(ABC, Generic[R]):
    """Writes the answers to one request.

    Attributes:
        request: The request.
        fingerprint: The engine's.
    """

    id_prefix: ClassVar[str]

    request: R
    fingerprint: str
    _head: dict[str, Any] = field(init=False)
    _usages: dict[int, EngineUsage] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha256(self.fingerprint.encode()).hexdigest()
        self._head = {
            "id": f"{self.id_prefix}-{uuid4().hex}",
            "created": int(time.time()),
            "model": self.request.model,
            "system_fingerprint": f"fp_{digest[:12]}",
        }

    def chunks(self, choice: int, part: AnswerPart) -> Iterator[BaseModel]:
        """The chunks of a stream for one part of one answer.

        Args:
            choice: The answer's index.
            part: The part.
        """
        if part.end is not None:
            self._usages[choice] = part.end.usage
        yield from self._chunks(choice, part)

    def last_chunks(self) -> Iterator[BaseModel]:
        """What ends a stream: the count of the tokens, if it is wanted."""
        if self.request.include_usage:
            yield self._usage_chunk(self._usage())

    def whole(self, answers: Sequence[WholeAnswer]) -> BaseModel:
        """The answers of a request that does not stream."""
        self._usages = {index: it.end.usage for index, it in enumerate(answers)}
        return self._whole(answers, self._usage())

    @abstractmethod
    def _chunks(self, choice: int, part: AnswerPart) -> Iterator[BaseModel]: ...

    @abstractmethod
    def _usage_chunk(self, usage: Usage) -> BaseModel: ...

    @abstractmethod
    def _whole(self, answers: Sequence[WholeAnswer], usage: Usage) -> BaseModel: ...

    def _chunk_head(self) -> dict[str, Any]:
        # OpenAI's chunks have a usage of null if the last one counts the tokens.
        return {**self._head, "usage": None} if self.request.include_usage else self._head

    def _part_report(self, part: AnswerPart) -> dict[str, AmuletReport]:
        """What a chunk reports beside OpenAI's fields."""
        if part.end is not None:
            return {"amulet": self._report(part.end, part.tokens)}
        return {"amulet": AmuletReport(tokens=part.tokens)} if part.tokens else {}

    def _report(self, end: AnswerEnd, tokens: Sequence[TokenFacts]) -> AmuletReport:
        """What is reported of a finished answer."""
        more = {"ignored": self.request.ignored, "tokens": list(tokens)}
        return end.report.model_copy(update={name: it for name, it in more.items() if it})

    def _usage(self) -> Usage:
        prompts = [
            usage for index, usage in self._usages.items() if index % self.request.choices == 0
        ]
        asked = sum(usage.prompt_tokens for usage in prompts)
        answered = sum(usage.completion_tokens for usage in self._usages.values())
        # Of one context, as `prompt_tokens`; where a preference alone is run, it is a longer one.
        cached = sum(
            min(usage.cached_tokens[0], usage.prompt_tokens)
            for usage in prompts
            if usage.cached_tokens
        )
        return Usage(
            prompt_tokens=asked,
            completion_tokens=answered,
            total_tokens=asked + answered,
            prompt_tokens_details=PromptTokensDetails(cached_tokens=cached),
        )
