"""Strengths and preferences are found again in answers that were sampled with them.

Every seed is a test of its own, and what came out is kept, so that a run that was stopped goes on;
the last tests count.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import pytest

from amulet_integrations import PreferenceProfile
from amulet_integrations.decoding.strength import PRESETS
from amulet_integrations.engine import LocalEngine
from amulet_integrations.errors import EvidenceError
from amulet_integrations.learning import estimate_strength, rank_preferences
from tests.acceptance.conftest import state_of_the_code
from tests.support.accepted import accepted_answers
from tests.support.golden import needs_questions, paper_questions

pytestmark = [pytest.mark.model, pytest.mark.acceptance, needs_questions]

KEY = "acceptance/learning"
SETTINGS = ((1.0, None), (1.5, 0.2), (3.0, None), (5.65, None))
"""Guidance scales and bounds. From scale 2 on such a bound often leaves too little evidence."""
SEEDS = range(10)
TOKENS = 32
PREFERENCES = [
    "Answer in the style of a cheerful pirate.",
    "Answer in one short sentence.",
    "Explain with examples from cooking.",
    "Be formal and use long words.",
    "Answer as a numbered list.",
    "Answer in simple words for a child of five.",
    "Be sceptical and point out what is not known.",
    "Speak of animals whenever you can.",
]

Result = dict[str, Any]
state = cache(state_of_the_code)


@pytest.fixture
def kept(pytestconfig: pytest.Config) -> Callable[[str, Callable[[], Result]], Result]:
    """Computes a result, unless it was computed already while the code was the same."""
    now = state(str(pytestconfig.rootpath))

    def result_of(name: str, work: Callable[[], Result]) -> Result:
        known = pytestconfig.cache.get(KEY, {})
        results = known.get("results", {}) if now and known.get("state") == now else {}
        if name not in results:
            results = {**results, name: work()}
            pytestconfig.cache.set(KEY, {"state": now, "results": results})
        sys.stderr.write(f"{name} {results[name]}\n")
        return results[name]

    return result_of


def questions(seed: int, count: int) -> list[str]:
    candidates = [question for question in paper_questions() if len(question) <= 300]
    return [candidates[(20 * seed + place) % len(candidates)] for place in range(count)]


def strength(engine: LocalEngine, scale: float, max_kl: float | None, seed: int) -> Result:
    text = PREFERENCES[seed % len(PREFERENCES)]
    examples = accepted_answers(
        engine, questions(seed, 20), text, scale, seed=seed, tokens=TOKENS, max_kl=max_kl
    )
    profile = PreferenceProfile(user_id="ann", preferences=[text])
    try:
        found = estimate_strength(engine, profile, examples, max_kl=max_kl)
    except EvidenceError as error:
        return {"refused": str(error)}
    return {
        "scale": found.guidance_scale,
        "interval": found.interval,
        "tokens": found.tokens,
        "dispersion": found.dispersion,
        "slip": found.slip,
    }


def ranking(engine: LocalEngine, seed: int) -> Result:
    true = seed % len(PREFERENCES)
    scale = (1.5, 3.0, 5.0)[seed % 3]
    examples = accepted_answers(
        engine,
        questions(seed, 6),
        PREFERENCES[true],
        scale,
        seed=100 + seed,
        tokens=TOKENS,
        max_kl=PRESETS["default"].max_kl,
    )
    try:
        found = rank_preferences(engine, PREFERENCES, examples)
    except EvidenceError as error:
        return {"refused": str(error), "first": False}
    best = found.best
    return {
        "first": best.number == true,
        "probability": best.probability,
        "scale": best.guidance_scale,
        "true scale": scale,
        "lead": best.log_evidence - found.ranked[1].log_evidence,
    }


@pytest.mark.parametrize(("scale", "max_kl"), SETTINGS)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_strength_is_estimated(embedded_engine, kept, scale, max_kl, seed):
    work = partial(strength, embedded_engine, scale, max_kl, seed)
    kept(f"strength {scale} {max_kl} {seed}", work)


@pytest.mark.parametrize(("scale", "max_kl"), SETTINGS)
def test_strengths_are_found_again(embedded_engine, kept, scale, max_kl):
    found = []
    for seed in SEEDS:
        work = partial(strength, embedded_engine, scale, max_kl, seed)
        found.append(kept(f"strength {scale} {max_kl} {seed}", work))
    estimated = [one for one in found if "refused" not in one]
    near = [one for one in estimated if abs(one["scale"] - scale) <= max(0.5, 0.2 * scale)]
    covered = [one for one in estimated if one["interval"][0] <= scale <= one["interval"][1]]
    assert len(near) >= 9
    assert len(covered) >= 8


@pytest.mark.parametrize("seed", SEEDS)
def test_preferences_are_ranked(embedded_engine, kept, seed):
    kept(f"ranking {seed}", partial(ranking, embedded_engine, seed))


def test_the_true_preference_comes_first(embedded_engine, kept):
    found = [kept(f"ranking {seed}", partial(ranking, embedded_engine, seed)) for seed in SEEDS]
    assert sum(one["first"] for one in found) >= 8
