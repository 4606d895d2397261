"""Learning from what the embedded model wrote: a strength and a preference are found again."""

from __future__ import annotations

import pytest

from amulet_integrations import PreferenceProfile
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


def test_a_strength_is_estimated(embedded_engine: LocalEngine) -> None:
    examples = accepted_answers(embedded_engine, QUESTIONS, PIRATE, 3.0, seed=1, tokens=20)
    profile = PreferenceProfile(user_id="ann", preferences=[PIRATE])
    found = estimate_strength(embedded_engine, profile, examples)
    assert found.guidance_scale == pytest.approx(3.0, abs=0.6)
    assert found.interval[1] - found.interval[0] < 1.5
    assert found.apply_to(profile).params == found.params


def test_the_true_preference_comes_first(embedded_engine: LocalEngine) -> None:
    examples = accepted_answers(embedded_engine, QUESTIONS, PIRATE, 2.0, seed=2, tokens=20)
    found = rank_preferences(embedded_engine, [*OTHERS, PIRATE], examples)
    assert found.best.number == len(OTHERS)
    assert found.best.probability > 0.9
    assert found.entropy < 0.5
