"""What a bound on the divergence costs: beside the mixture, and in decode steps of the engine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import torch
from torch import Tensor

from amulet_integrations import SamplingParams
from amulet_integrations.decoding import DivergenceBounds, mix_bounded_contexts, mixing_matrix
from amulet_integrations.engine import GenerationRequest, LocalEngine, run_on_worker
from amulet_integrations.prompting import PromptBuilder
from benchmarks.support.prompts import USERS, pair
from benchmarks.support.timed_answers import STEP, guided_request, run_together
from benchmarks.support.timing import Figure, Rounds, Run

VOCABULARIES = (49_152, 152_064)
"""That of the embedded model, and that of Qwen 2.5."""
COUNTS = (1, 8)
STRONG = (-1.0, 2.0)
MAX_KL = 0.2
TOKENS = 24
BOUND = "bound's time"


def share(count: int) -> str:
    """The name of the figure of what a bound adds to a decode step."""
    return f"{count} requests, bound % of a decode step"


def rivals(engine: LocalEngine, tokens: int = TOKENS) -> dict[str, Run]:
    """Policies by themselves, and answers with and without a bound, all of one engine."""
    prompts = PromptBuilder(engine.tokenizer)
    pairs = [pair(prompts, question, preference) for question, preference in USERS[: max(COUNTS)]]
    steps = _steps(engine, pairs, tokens)
    runs: dict[str, Run] = {}
    for count in COUNTS:
        for size in VOCABULARIES:
            runs[_policies(count, size)] = lambda count=count, size=size: run_on_worker(
                _bound_seconds, steps, count, size
            )
        free = [guided_request(*each, tokens) for each in pairs[:count]]
        free = [request.model_copy(update={"weights": STRONG}) for request in free]
        bounded = [request.model_copy(update={"max_kl": MAX_KL}) for request in free]
        runs[_decoding(count, "free")] = lambda requests=free: run_together(engine, requests)
        runs[_decoding(count, "bounded")] = lambda requests=bounded: run_together(engine, requests)
    return runs


def figures(measured: Rounds) -> dict[str, Figure | float]:
    """Milliseconds a step that a bound adds, by the size of the vocabulary, and its share."""
    figures: dict[str, Figure | float] = {}
    for count in COUNTS:
        for size in VOCABULARIES:
            seconds = measured[_policies(count, size)][BOUND]
            figures[f"{count} requests, {size} entries, bound ms"] = Figure.of(
                1000 * each for each in seconds
            )
        free, bounded = (measured[_decoding(count, how)][STEP] for how in ("free", "bounded"))
        figures[f"{count} requests, decode step ms"] = Figure.of(1000 * each for each in free)
        figures[share(count)] = Figure.of(
            100 * (more / less - 1) for more, less in zip(bounded, free, strict=True)
        )
    return figures


def _policies(count: int, size: int) -> str:
    return f"{count} requests, {size} entries"


def _decoding(count: int, how: str) -> str:
    return f"{count} requests, {how}"


def _steps(
    engine: LocalEngine, pairs: Sequence[tuple[list[int], list[int]]], tokens: int
) -> list[Tensor]:
    """The model's log-probabilities at every token, each (2 * requests, vocab)."""
    seen: list[list[Tensor]] = []

    def request(contexts: tuple[list[int], list[int]]) -> GenerationRequest:
        own: list[Tensor] = []
        seen.append(own)

        def policy(log_probs: Tensor) -> Tensor:
            own.append(log_probs.clone())
            return log_probs[1]

        sampling = SamplingParams(max_new_tokens=tokens, min_new_tokens=tokens)
        return GenerationRequest(contexts=contexts, policy=policy, sampling=sampling)

    engine.generate([request(contexts) for contexts in pairs])
    return [torch.cat(step) for step in zip(*seen, strict=True)]


@torch.inference_mode()
def _bound_seconds(steps: Sequence[Tensor], count: int, size: int) -> dict[str, float]:
    """The median over the steps of what a bound adds to the mixture, in seconds."""
    matrix = mixing_matrix([STRONG] * count)
    bounds = DivergenceBounds([(0.0, 1.0)] * count, [MAX_KL] * count)
    added = []
    for step in steps:
        rows = step[: 2 * count]
        # A larger vocabulary repeats the same entries.
        logits = rows.repeat(1, -(-size // rows.shape[-1]))[:, :size].contiguous()
        started = time.perf_counter()
        mix_bounded_contexts(logits, matrix)
        free = time.perf_counter()
        mix_bounded_contexts(logits, matrix, bounds)
        added.append(time.perf_counter() - free - (free - started))
    return {BOUND: statistics.median(added)}
