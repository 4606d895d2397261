"""Learning from what the embedded model wrote: a strength and a preference are found again."""

from __future__ import annotations

import pytest

from amulet_integrations import PreferenceProfile
from amulet_integrations.decoding.strength import Strength
from amulet_integrations.engine import LocalEngine
from amulet_integrations.learning import estimate_strength, rank_preferences
from tests.support.accepted import accepted_answers

pytestmark = pytest.mark.model

PIRATE = "Answer in the style of a cheerful pirate."
OTHERS = ["Be formal and use long words.", "Answer as a numbered list.", None]
QUESTIONS = [
    "How can I sleep better?",
    "What is a volcano?",
    "Why is the sky blue?",
    "How do I boil an egg?",
    "What should I read next?",
    "How do bees make honey?",
]


def test_a_strength_is_estimated_under_a_bound(embedded_engine: LocalEngine) -> None:
    examples = accepted_answers(
        embedded_engine, QUESTIONS, PIRATE, 2.0, seed=1, tokens=32, max_kl=0.5
    )
    profile = PreferenceProfile(user_id="ann", preferences=[PIRATE])
    found = estimate_strength(embedded_engine, profile, examples, max_kl=0.5)
    assert found.guidance_scale == pytest.approx(2.0, abs=0.4)
    assert found.interval[0] <= 2.0 <= found.interval[1]
    applied = found.apply_to(profile).strength
    assert applied == Strength(guidance_scale=found.guidance_scale, max_kl=0.5)
    # Without the bound, what it held back looks like weaker guidance.
    unbounded = estimate_strength(embedded_engine, profile, examples, max_kl=None)
    assert unbounded.interval[1] < 2.0
    assert max(unbounded.log_likelihoods) < max(found.log_likelihoods) - 5.0


def test_the_true_preference_comes_first(embedded_engine: LocalEngine) -> None:
    examples = accepted_answers(
        embedded_engine, QUESTIONS, PIRATE, 2.0, seed=2, tokens=20, max_kl=0.2
    )
    found = rank_preferences(embedded_engine, [*OTHERS, PIRATE], examples)
    assert found.best.number == len(OTHERS)
    assert found.best.probability > 0.9
    assert found.entropy < 0.5
