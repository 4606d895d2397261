"""What explanations cost: a decode step with them and without, one user and eight."""

from __future__ import annotations

from functools import partial

from amulet_integrations.engine import LocalEngine
from amulet_integrations.prompting import PromptBuilder
from benchmarks.support.prompts import USERS, pair
from benchmarks.support.timed_answers import NO_REUSE, STEP, guided_request, run_together
from benchmarks.support.timing import FULL, Effort, Figure, Figures, timed_rounds

TOKENS = 32
ALTERNATIVES = 5  # as in the wrappers
COUNTS = (1, 8)


def ratio(users: int) -> str:
    """The name of the figure that is bounded."""
    return f"{users} user{'s' if users > 1 else ''}, step with explanations / without"


def measure(dtype: str, effort: Effort = FULL) -> Figures:
    """Milliseconds from one token to the next."""
    tokens = effort.tokens(TOKENS)
    figures: dict[str, Figure | float] = {}
    with LocalEngine.from_pretrained(dtype=dtype, **NO_REUSE) as engine:
        prompts = PromptBuilder(engine.tokenizer)
        contexts = [pair(prompts, *USERS[number % len(USERS)]) for number in range(max(COUNTS))]
        plain = [guided_request(base, pref, tokens) for base, pref in contexts]
        explained = [it.model_copy(update={"explain": ALTERNATIVES}) for it in plain]
        for count in COUNTS:
            rivals = {
                "with": partial(run_together, engine, explained[:count]),
                "without": partial(run_together, engine, plain[:count]),
            }
            measured = timed_rounds(rivals, effort.rounds)
            for name, of in measured.items():
                figures[f"{count} at once, {name} explanations, step ms"] = Figure.of(
                    1000 * seconds for seconds in of[STEP]
                )
            figures[ratio(count)] = Figure.ratio(measured["with"][STEP], measured["without"][STEP])
    return figures
