"""Each aim names a score that somebody measures."""

from __future__ import annotations

from amulet_integrations.evaluation.metrics.score_notes import OWN_SCORES
from amulet_integrations.evaluation.metrics.sentiment import SENTIMENT
from amulet_integrations.evaluation.metrics.target import AIMS, Aim, aim_of
from amulet_integrations.evaluation.metrics.text_scores import text_scores


def test_verbose_wants_more_words_and_concise_fewer():
    assert aim_of("verbose") == Aim("words", "more")
    assert aim_of("concise") == Aim("words", "fewer")
    assert [aim_of(name).sign for name in ("verbose", "concise")] == [1, -1]


def test_other_preferences_have_none():
    assert aim_of("formal") is None
    assert aim_of("Answer as a poet.") is None


def test_every_aim_is_measured_and_none_is_what_methods_optimise():
    measured = text_scores("word " * 50).keys() | {SENTIMENT}
    for aim in AIMS.values():
        assert aim.score in measured
        assert aim.score in OWN_SCORES
        assert aim.score != "preference_ratio"
