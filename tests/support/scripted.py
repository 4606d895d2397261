"""An engine that generates given texts, and records its requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Sequence
from typing import Any

from amulet_integrations.engine import GenerationRequest
from amulet_integrations.engine.result import GenerationResult, Increment, Usage
from tests.support.tiny import CONTEXT_WINDOW, tiny_tokenizer


class ScriptedEngine:
    """Answers every request with the same texts, one for each step.

    Args:
        texts: The text of each step; None repeats "a" for ever.
        context_window: Most tokens of prompt and answer; None for the class's.

    Attributes:
        requests: Every request, in order.
        running: How many requests have been begun and neither finished nor closed.
    """

    model_name = fingerprint = "scripted"
    context_window = CONTEXT_WINDOW

    def __init__(
        self, texts: Sequence[str] | None = ("Well", "."), context_window: int | None = None
    ) -> None:
        self.context_window = context_window or self.context_window
        self.tokenizer = tiny_tokenizer()
        self.requests: list[GenerationRequest] = []
        self.running = 0
        self._texts = texts

    def stream(self, request: GenerationRequest) -> Generator[Increment, None, None]:
        self.requests.append(request)
        return self._steps(request)

    async def astream(self, request: GenerationRequest) -> AsyncGenerator[Increment, None]:
        for increment in self.stream(request):
            await asyncio.sleep(0.001)
            yield increment

    def generate(self, requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
        return [GenerationResult.fold(self.stream(request)) for request in requests]

    async def agenerate(self, requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
        return self.generate(requests)

    def score(self, *requests: Any, **options: Any) -> Any:
        raise NotImplementedError

    def close(self) -> None:
        pass

    def _steps(self, request: GenerationRequest) -> Generator[Increment, None, None]:
        self.running += 1
        try:
            while self._texts is None:
                yield Increment("a", (5,))
            for text in self._texts[:-1]:
                yield Increment(text, (5,))
            lengths = tuple(len(context) for context in request.contexts)
            yield Increment(
                self._texts[-1], (1,), "stop", Usage(lengths[0], len(self._texts), lengths)
            )
        finally:
            self.running -= 1
