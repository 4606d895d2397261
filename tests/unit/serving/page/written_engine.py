"""An engine that writes a given text, as tokens that preferences have moved by given shifts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Sequence

from amulet_integrations.decoding.detokenizer import IncrementalDetokenizer
from amulet_integrations.engine import GenerationRequest
from amulet_integrations.engine.result import (
    Increment,
    TokenExplanation,
    TokenLogprob,
    Usage,
)
from tests.support.scripted import ScriptedEngine

PREF = -4.5


class WrittenEngine(ScriptedEngine):
    """Writes the same text for every request.

    Args:
        text: The text; None writes "a" for ever.
        shifts: The shift of each token in nats, again and again.
        pause: Seconds before each token.
    """

    supports_explain = True

    def __init__(
        self, text: str | None, shifts: Sequence[float] = (0.0,), pause: float = 0.0
    ) -> None:
        super().__init__()
        self.text, self.shifts, self.pause = text, shifts, pause

    async def astream(self, request: GenerationRequest) -> AsyncGenerator[Increment, None]:
        for increment in self.stream(request):
            await asyncio.sleep(self.pause)
            yield increment

    def _steps(self, request: GenerationRequest) -> Generator[Increment, None, None]:
        self.running += 1
        try:
            while self.text is None:
                yield Increment("a", (self.tokenizer.encode("a")[0],))
            detokenizer = IncrementalDetokenizer(self.tokenizer)
            token_ids = self.tokenizer.encode(self.text, add_special_tokens=False)
            explained = request.explain is not None
            for at, token_id in enumerate(token_ids):
                explanations = (self._explain(at, token_id),) if explained else ()
                text = detokenizer.push(token_id)
                yield Increment(text, (token_id,), explanations=explanations)
            lengths = tuple(len(context) for context in request.contexts)
            end = self.tokenizer.eos_token_id
            yield Increment(
                detokenizer.flush(),
                (end,),
                "stop",
                Usage(lengths[0], len(token_ids) + 1, lengths),
                explanations=(self._explain(0, end),) if explained else (),
            )
        finally:
            self.running -= 1

    def _explain(self, at: int, token_id: int) -> TokenExplanation:
        shift = self.shifts[at % len(self.shifts)]
        text = self.tokenizer.decode([token_id])
        base, pref, policy = (
            TokenLogprob(token_id, text, value) for value in (-5.0, PREF, -5.0 + shift)
        )
        return TokenExplanation(
            base=base,
            policy=policy,
            pref=pref,
            kl_from_base=0.25,
            kl_from_pref=0.125,
            context_logprobs=(-5.0, PREF),
            weights=(-1.0, 2.0),
        )
