"""The policy of one token: the mixture beside the 60 iterations, and what a bound on it costs."""

from __future__ import annotations

import torch

from amulet_integrations import AmuletParams
from amulet_integrations.decoding import (
    amulet_policy,
    amulet_weights,
    ftrl_policy,
    mix_contexts,
    mixing_matrix,
)
from amulet_integrations.engine import LocalEngine, run_on_worker
from amulet_integrations.prompting import PromptBuilder
from benchmarks.components import bounded_policy
from benchmarks.support.plots import Lines
from benchmarks.support.prompts import POETIC, STORY, pair
from benchmarks.support.timed_answers import NO_REUSE, STEP, guided_request, run_together
from benchmarks.support.timing import (
    FULL,
    ROUNDS,
    SECONDS,
    Effort,
    Figure,
    Figures,
    Run,
    timed_rounds,
)

VOCABULARIES = (32_768, 65_536, 131_072, 152_064, 262_144)
LARGE = 152_064
"""The vocabulary of Qwen 2.5, for which the bounds are set."""
REPEATS = {"mixture": 50, "closed form": 10, "60 iterations": 2}
TOKENS = 24
PLOTS = [
    Lines(
        "The policy of one token",
        "entries of the vocabulary",
        "ms",
        {name: {size: f"{size} entries, {name} ms" for size in VOCABULARIES} for name in REPEATS},
        log=True,
    )
]


def measure(effort: Effort = FULL) -> Figures:
    """Milliseconds of one update: mixture, closed form, iterations; and what a bound adds."""
    rounds = 1 if effort.quick else ROUNDS
    tokens = effort.tokens(TOKENS)
    with LocalEngine.from_pretrained(dtype="float32", **NO_REUSE) as engine:
        request = guided_request(*pair(PromptBuilder(engine.tokenizer), STORY, POETIC), tokens)
        rivals: dict[str, Run] = {"step": lambda: run_together(engine, [request])}
        for size in VOCABULARIES:
            rivals |= _updates(size)
        rivals |= bounded_policy.rivals(engine, tokens)
        measured = timed_rounds(rivals, rounds)
    seconds = {
        name: [s / REPEATS[name.split(", ")[1]] for s in of[SECONDS]]
        for name, of in measured.items()
        if name.split(", ")[-1] in REPEATS
    }
    step = measured["step"][STEP]
    figures: dict[str, Figure | float] = {
        f"{name} ms": Figure.of(1000 * s for s in of) for name, of in seconds.items()
    }
    for size in VOCABULARIES:
        played = seconds[f"{size} entries, 60 iterations"]
        for name in ("mixture", "closed form"):
            ratio = Figure.ratio(played, seconds[f"{size} entries, {name}"])
            figures[f"{size} entries, 60 iterations / {name}"] = ratio
    figures["decode step ms"] = Figure.of(1000 * s for s in step)
    mixture = seconds[f"{LARGE} entries, mixture"]
    share = [100 * m / s for m, s in zip(mixture, step, strict=True)]
    figures[f"{LARGE} entries, mixture % of a decode step"] = Figure.of(share)
    return figures | bounded_policy.figures(measured)


def _updates(size: int) -> dict[str, Run]:
    params = AmuletParams()
    logits = torch.randn(2, size, generator=torch.Generator().manual_seed(0))
    matrix = mixing_matrix([amulet_weights(params)])
    updates = {
        "mixture": lambda: mix_contexts(logits, matrix),
        "closed form": lambda: amulet_policy(logits[0], logits[1], params),
        "60 iterations": lambda: ftrl_policy(logits[0], logits[1], params),
    }

    @torch.inference_mode()
    def repeat(name: str) -> None:
        for _ in range(REPEATS[name]):
            updates[name]()

    return {
        f"{size} entries, {name}": lambda name=name: run_on_worker(repeat, name) for name in updates
    }
