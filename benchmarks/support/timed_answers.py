"""Requests, and running them on an engine with the times of their tokens."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from amulet_integrations import AmuletParams, SamplingParams
from amulet_integrations.decoding import amulet_weights
from amulet_integrations.engine import GenerationRequest, LocalEngine
from amulet_integrations.engine.result import Usage
from benchmarks.support.prompts import PARAMS

FIRST = "first token"
STEP = "step"

NO_REUSE = {"max_prefix_tokens": 0, "prompt_lookup_num_tokens": 0}
"""Options of an engine that reuses no prefix and drafts no tokens.

Rounds repeat their prompts, so with either of them an engine would have less to do than its rivals,
and the figure would not be that of a paired step.
"""


class TimedAnswer(NamedTuple):
    """One answer.

    Attributes:
        seconds: From submission to its end.
        first: From submission to its first token.
        tokens: The ids of all tokens.
        text: The text.
        usage: The token counts of the engine.
    """

    seconds: float
    first: float
    tokens: list[int]
    text: str
    usage: Usage

    @property
    def step(self) -> float:
        """Seconds from one token to the next, once there was a first."""
        return (self.seconds - self.first) / max(1, len(self.tokens) - 1)


def guided_request(
    base: list[int],
    pref: list[int],
    tokens: int,
    *,
    params: AmuletParams = PARAMS,
    exactly: bool = True,
) -> GenerationRequest:
    """Amulet's request, for `tokens` tokens exactly or at most."""
    return GenerationRequest(
        contexts=[base, pref],
        weights=amulet_weights(params),
        sampling=_sampling(tokens, exactly=exactly),
    )


def plain_request(context: list[int], tokens: int, *, exactly: bool = True) -> GenerationRequest:
    """A request of one context."""
    return GenerationRequest(contexts=[context], sampling=_sampling(tokens, exactly=exactly))


def run_request(engine: LocalEngine, request: GenerationRequest) -> TimedAnswer:
    """Decodes one request."""
    started = time.perf_counter()
    first, tokens, text = 0.0, [], ""
    for increment in engine.stream(request):
        if increment.token_ids and not tokens:
            first = time.perf_counter() - started
        tokens.extend(increment.token_ids)
        text += increment.text
    seconds = time.perf_counter() - started
    if increment.usage is None or len(tokens) < request.sampling.min_new_tokens:
        raise SystemExit(f"An answer ended after {len(tokens)} tokens.")
    return TimedAnswer(seconds, first, tokens, text, increment.usage)


def run_together(engine: LocalEngine, requests: Sequence[GenerationRequest]) -> dict[str, float]:
    """Decodes requests together; returns the medians of time to the first token and step."""
    with ThreadPoolExecutor(len(requests)) as threads:
        done = list(threads.map(lambda request: run_request(engine, request), requests))
    return {
        FIRST: statistics.median(one.first for one in done),
        STEP: statistics.median(one.step for one in done),
    }


def _sampling(tokens: int, *, exactly: bool) -> SamplingParams:
    return SamplingParams(max_new_tokens=tokens, min_new_tokens=tokens if exactly else 0)
