"""Each target names a score that somebody measures."""

from __future__ import annotations

from amulet_integrations.evaluation.metrics.builtin_scores import BUILTIN_SCORES, TARGETS, Target
from amulet_integrations.evaluation.metrics.text_scores import SENTIMENT, text_scores


def test_verbose_wants_more_words_and_concise_fewer():
    assert TARGETS.get("verbose") == Target("words", "more")
    assert TARGETS.get("concise") == Target("words", "fewer")
    assert [TARGETS.get(name).sign for name in ("verbose", "concise")] == [1, -1]


def test_other_preferences_have_none():
    assert TARGETS.get("formal") is None
    assert TARGETS.get("Answer as a poet.") is None


def test_every_target_is_measured_and_none_is_what_methods_optimise():
    measured = text_scores("word " * 50).keys() | {SENTIMENT}
    for target in TARGETS.values():
        assert target.score in measured
        assert target.score in BUILTIN_SCORES
        assert target.score != "preference_ratio"
