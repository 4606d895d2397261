"""A conversation that grows: time to the first token by turn, with and without what was read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from amulet_integrations.engine import LocalEngine
from amulet_integrations.prompting import ChatMessage, PromptBuilder
from benchmarks.support.plots import Lines
from benchmarks.support.prompts import POETIC, diary
from benchmarks.support.timed_answers import NO_REUSE, TimedAnswer, guided_request, run_request
from benchmarks.support.timing import FULL, Effort, Figure, Figures

TURNS = range(1, 6)
TURN_TOKENS = 300
TOKENS = 16
REUSED, ANEW = "with reuse", "without"
PLOTS = [
    Lines(
        "A conversation",
        "turn",
        "time to first token, ms",
        {
            "with reuse of what was read": {n: f"turn {n}, {REUSED} ms" for n in TURNS},
            "without": {n: f"turn {n}, {ANEW} ms" for n in TURNS},
        },
    )
]


def measure(dtype: str, effort: Effort = FULL) -> Figures:
    """Milliseconds to the first token of every turn of about 300 tokens."""
    return by_turn(partial(LocalEngine.from_pretrained, dtype=dtype), effort)


def by_turn(load: Callable[..., LocalEngine], effort: Effort) -> Figures:
    """The same, of engines that are loaded with options of their limits."""
    tokens = effort.tokens(TOKENS)
    turn_tokens = 30 if effort.quick else TURN_TOKENS
    without = {**NO_REUSE}
    with_reuse = {key: value for key, value in NO_REUSE.items() if key != "max_prefix_tokens"}
    with (
        load(**with_reuse) as reusing,
        load(**without) as reading,
    ):
        engines = {REUSED: reusing, ANEW: reading}
        for engine in engines.values():
            _converse(engine, seed=0, turns=1, turn_tokens=turn_tokens, tokens=tokens)
        rounds = []
        for seed in range(1, effort.rounds + 1):  # other words in every round, or all was read
            talks = {
                name: _converse(
                    engine, seed=seed, turns=len(TURNS), turn_tokens=turn_tokens, tokens=tokens
                )
                for name, engine in engines.items()
            }
            rounds.append(talks)
    figures: dict[str, Figure | float] = {}
    for turn in TURNS:
        reused, anew = (
            [talks[name][turn - 1].first for talks in rounds] for name in (REUSED, ANEW)
        )
        figures[f"turn {turn}, {REUSED} ms"] = Figure.of(1000 * s for s in reused)
        figures[f"turn {turn}, {ANEW} ms"] = Figure.of(1000 * s for s in anew)
        figures[f"turn {turn}, {REUSED} / {ANEW}"] = Figure.ratio(reused, anew)
    last = rounds[-1][REUSED][-1].usage
    figures["turn 5, prompt tokens of both contexts"] = float(sum(last.context_tokens))
    figures["turn 5, of these read before"] = float(sum(last.cached_tokens))
    return figures


def _converse(
    engine: LocalEngine, *, seed: int, turns: int, turn_tokens: int, tokens: int
) -> list[TimedAnswer]:
    """One conversation; the answers are the engine's own."""
    prompts = PromptBuilder(engine.tokenizer)
    messages: list[ChatMessage] = []
    answers = []
    for turn in range(turns):
        text = diary(engine.tokenizer, turn_tokens - tokens - 10, seed=100 * seed + turn)
        messages.append(ChatMessage(role="user", content=text))
        base, pref = prompts.contexts(messages, [None, POETIC])
        answers.append(run_request(engine, guided_request(base, pref, tokens)))
        messages.append(ChatMessage(role="assistant", content=answers[-1].text))
    return answers
