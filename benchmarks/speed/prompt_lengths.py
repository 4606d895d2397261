"""Short and long prompts: time to the first token, and a decode step after them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amulet_integrations.engine import GenerationRequest, LocalEngine
from amulet_integrations.prompting import PromptBuilder
from benchmarks.support.peers import Peers, present
from benchmarks.support.plots import Lines
from benchmarks.support.prompts import POETIC, pair, story_prompt
from benchmarks.support.timed_answers import (
    FIRST,
    NO_REUSE,
    STEP,
    guided_request,
    plain_request,
    run_together,
)
from benchmarks.support.timing import FULL, Effort, Figure, Figures, timed_rounds

LENGTHS = (100, 1_000, 4_000)
TOKENS = 16
RIVALS = {"Amulet": "Amulet, two contexts", "plain": "one context", "generate": "generate"}
PLOTS = [
    Lines(
        title,
        "prompt tokens",
        axis,
        {
            label: {length: f"{length} tokens, {name} {what} ms" for length in LENGTHS}
            for name, label in RIVALS.items()
        },
    )
    for title, axis, what in (
        ("Reading a prompt", "time to first token, ms", FIRST),
        ("A step after a prompt", "decode step, ms", STEP),
    )
]


def measure(dtype: str, effort: Effort = FULL) -> Figures:
    """Milliseconds to the first token, and from one to the next."""
    tokens = effort.tokens(TOKENS)
    peers = Peers(dtype, tokens)
    figures: dict[str, Figure | float] = {}
    with LocalEngine.from_pretrained(dtype=dtype, **NO_REUSE) as engine:
        prompts = PromptBuilder(engine.tokenizer)
        for length in effort.some(LENGTHS):
            base, pref = pair(prompts, story_prompt(engine.tokenizer, length), POETIC)
            rivals = {
                "Amulet": _run(engine, guided_request(base, pref, tokens)),
                "plain": _run(engine, plain_request(base, tokens)),
                "generate": peers.generate(base),
            }
            warm_up = length == LENGTHS[0]  # reading thousands of tokens is warm enough
            measured = timed_rounds(present(rivals), effort.rounds, warm_up=warm_up)
            for name, of in measured.items():
                for what in (FIRST, STEP):
                    figures[f"{length} tokens, {name} {what} ms"] = Figure.of(
                        1000 * s for s in of[what]
                    )
            for rival in ("plain", "generate"):
                for what in (FIRST, STEP):
                    figures[f"{length} tokens, {what}, Amulet / {rival}"] = Figure.ratio(
                        measured["Amulet"][what], measured[rival][what]
                    )
    return figures


def _run(engine: LocalEngine, request: GenerationRequest) -> Callable[[], Any]:
    return lambda: run_together(engine, [request])
