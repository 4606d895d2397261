"""Preferences are ranked by the answers that they explain."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from amulet_integrations import Preference
from amulet_integrations.engine import LocalEngine
from amulet_integrations.errors import (
    ContextLengthError,
    EvidenceError,
    GuidanceScaleError,
    InvalidParamsError,
    InvalidProfileError,
)
from amulet_integrations.learning import Example, evidence, rank_preferences, ranking
from tests.unit.learning import digits, oracle
from tests.unit.learning.digits import DigitsEngine, accepted

TRUE = "Be brief."
CANDIDATES = ["Be a sea.", None, TRUE, Preference(text="Be blue.", weight=-0.5)]
QUESTIONS = ["Is the sea blue?", "Why?"]
ACCEPTED = [Example(question=q, accepted="You are a sea, and brief.") for q in QUESTIONS]
PAIRS = [Example(question=q, accepted="The sea.", rejected="A blue user") for q in QUESTIONS]
REJECTED = [Example(question=q, rejected="A blue user.") for q in QUESTIONS]
SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
PLAIN = {"guidance_scales": SCALES, "least_odds": 1.0001, "min_tokens": 1, "min_examples": 1}

TASTES = [digits.LARGE, None, digits.EVEN, digits.ODD]
ODD_ANSWERS = digits.drawn(digits.ODD, 3.0, 0)


@pytest.fixture
def untouched(tiny_engine, monkeypatch) -> LocalEngine:
    monkeypatch.setattr(tiny_engine, "backend", None)
    return tiny_engine


def slow_log_evidence(examples, candidate, **options) -> float:
    """Log-likelihoods by plain forward passes, and the mean over a fine grid of scales."""
    given = [(candidate.text, candidate.weight)] if isinstance(candidate, Preference) else []
    given = [(candidate, 1.0)] if isinstance(candidate, str) else given

    @cache
    def plain(question, answer, scale):
        return oracle.log_likelihood(question, answer, given, scale, **options)

    def reward(question, answer, scale):
        if answer is None:
            return 0.0
        return plain(question, answer, scale) - plain(question, answer, 0.0)

    def log_likelihood(one, scale):
        if one.rejected is None:
            return plain(one.question, one.accepted, scale)
        margin = reward(one.question, one.accepted, scale)
        margin -= reward(one.question, one.rejected, scale)
        return np.log(0.9 / (1.0 + np.exp(-margin)) + 0.05)

    fine = np.linspace(SCALES[0], SCALES[-1], 61)
    return oracle.log_mean(
        np.array([sum(log_likelihood(one, scale) for one in examples) for scale in fine])
    )


@pytest.mark.parametrize("examples", [ACCEPTED, PAIRS, REJECTED], ids=["accepted", "both", "not"])
@pytest.mark.parametrize(("slip", "max_kl"), [(0.0, None), (0.05, None), (0.05, 4.0)])
def test_evidence_and_posterior_are_those_of_plain_forward_passes(
    tiny_engine, monkeypatch, examples, slip, max_kl
):
    monkeypatch.setattr(evidence, "_SLIP", slip)
    monkeypatch.setattr(evidence, "_LAPSE", 0.1)
    monkeypatch.setattr(ranking, "_RESAMPLES", 0)
    priors = [1.0, 2.0, 3.0, 4.0]
    found = rank_preferences(
        tiny_engine, CANDIDATES, examples, priors=priors, max_kl=max_kl, **PLAIN
    )
    expected = np.array(
        [slow_log_evidence(examples, it, slip=slip, max_kl=max_kl) for it in CANDIDATES]
    )
    posterior = np.exp(expected - expected.max()) * priors
    posterior /= posterior.sum()
    for one in found.ranked:
        assert one.log_evidence == pytest.approx(expected[one.number], abs=0.02)
        assert one.probability == pytest.approx(posterior[one.number], abs=0.01)
    shares = [one.probability for one in found.ranked]
    assert shares == sorted(shares, reverse=True)
    assert found.best is found.ranked[0]


def chosen(seed: int) -> list[Example]:
    """Pairs of answers drawn without a preference, of which the one with more evens is chosen."""
    both = zip(*(digits.drawn(None, 0.0, seed + more, examples=20) for more in (0, 1)), strict=True)
    ranked = [sorted(pair, key=lambda answer: sum(int(d) % 2 for d in answer)) for pair in both]
    return [Example(question=digits.QUESTION, accepted=a, rejected=b) for a, b in ranked if a != b]


@pytest.mark.parametrize(
    ("examples", "candidates"),
    [
        (accepted(digits.EVEN, 2.0, 0), TASTES),
        (chosen(0), TASTES),
        ([Example(question=digits.QUESTION, rejected=it) for it in ODD_ANSWERS], TASTES[1:]),
    ],
    ids=["accepted", "both", "rejected"],
)
def test_the_true_preference_comes_first(examples, candidates):
    engine = DigitsEngine()
    found = rank_preferences(engine, candidates, examples)
    assert found.best.preference == Preference(text=digits.EVEN)
    assert found.best.probability > 0.75
    assert sum(one.probability for one in found.ranked) == pytest.approx(1.0)
    shares = [one.probability for one in found.ranked if one.probability]
    assert found.entropy == pytest.approx(-sum(p * np.log2(p) for p in shares))
    assert found.examples == len(examples)
    (none,) = (one for one in found.ranked if candidates[one.number] is None)
    assert none.guidance_scale is None
    assert found == rank_preferences(engine, candidates, examples)
    assert digits.EVEN not in repr(found)


def test_strengths_are_estimated_and_integrated_out():
    examples = accepted(digits.EVEN, 4.0, 0)
    found = rank_preferences(DigitsEngine(), TASTES, examples, max_kl=None)
    assert found.best.guidance_scale == pytest.approx(4.0, abs=1.0)


@pytest.mark.parametrize("scales", [(0.5, 1.0, 1.5, 2.0), (6.0, 7.0, 8.0, 9.0)])
def test_a_strength_at_an_end_of_the_scales_is_none(scales):
    examples = accepted(digits.EVEN, 4.0, 0)
    found = rank_preferences(DigitsEngine(), TASTES, examples, guidance_scales=scales)
    assert found.best.preference == Preference(text=digits.EVEN)
    assert found.best.guidance_scale is None


def test_no_preference_is_a_candidate():
    found = rank_preferences(DigitsEngine(), TASTES, accepted(None, 0.0, 2))
    assert found.best.preference is None


def test_many_candidates_are_read_in_groups(tiny_engine, monkeypatch):
    whole = rank_preferences(tiny_engine, CANDIDATES, PAIRS, **PLAIN)
    monkeypatch.setattr(evidence, "_CONTEXTS", 2)
    parted = rank_preferences(tiny_engine, CANDIDATES, PAIRS, **PLAIN)
    for one, other in zip(whole.ranked, parted.ranked, strict=True):
        assert one.number == other.number
        assert one.log_evidence == pytest.approx(other.log_evidence, abs=1e-3)


def test_candidates_that_are_not_distinguished_are_refused():
    engine, examples = DigitsEngine(), accepted(digits.EVEN, 2.0, 0)
    alike = [Preference(text=digits.EVEN), Preference(text=digits.EVEN, weight=0.99)]
    with pytest.raises(EvidenceError, match=r"do not tell .*candidates\[\d\] has .*least_odds=3"):
        rank_preferences(engine, alike, examples)


def test_priors_count():
    alike = [Preference(text=digits.EVEN), Preference(text=digits.EVEN, weight=0.99)]
    examples = accepted(digits.EVEN, 2.0, 0)
    found = rank_preferences(DigitsEngine(), alike, examples, priors=[1.0, 99.0])
    assert (found.best.number, found.best.probability > 0.97) == (1, True)


def test_priors_of_any_size_are_shares():
    np.testing.assert_allclose(np.exp(ranking.normalized_log_priors([1e308] * 4, 4)), 0.25)
    np.testing.assert_allclose(np.exp(ranking.normalized_log_priors([1, 3], 2)), [0.25, 0.75])
    logs = ranking.normalized_log_priors([1e-320, 1e300], 2)
    assert np.isfinite(logs).all()
    assert logs[0] == pytest.approx(-1427.6, abs=0.1)


def test_too_few_examples_are_refused():
    engine, examples = DigitsEngine(), accepted(digits.EVEN, 2.0, 0)
    with pytest.raises(EvidenceError, match="1 answers have 20 tokens"):
        rank_preferences(engine, TASTES, examples[:1])
    with pytest.raises(EvidenceError, match="4 examples, fewer than min_examples=5"):
        rank_preferences(engine, TASTES, examples[:4])
    with pytest.raises(EvidenceError, match=r"examples\[10\] is the same as examples\[2\]"):
        rank_preferences(engine, TASTES, [*examples, examples[2]])
    with pytest.raises(EvidenceError, match="no examples"):
        rank_preferences(engine, TASTES, [])
    assert engine.calls == 0
    assert rank_preferences(engine, TASTES, examples[:4], min_examples=4).examples == 4


@pytest.mark.parametrize(
    ("candidates", "options", "error", "message"),
    [
        ([TRUE], {}, InvalidParamsError, "1 candidates leave no choice"),
        (TRUE, {}, InvalidParamsError, "candidates is a str"),
        ([TRUE, 5], {}, InvalidParamsError, r"candidates\[1\] is a int"),
        ([TRUE, " Be brief. "], {}, InvalidParamsError, r"candidates\[1\] is the same as .*\[0\]"),
        ([None, TRUE, None], {}, InvalidParamsError, r"candidates\[2\] is the same"),
        ([TRUE, " "], {}, InvalidProfileError, "empty"),
        ([TRUE, Preference(text="a", weight=0)], {}, InvalidParamsError, "weight 0"),
        (CANDIDATES, {"priors": [1.0]}, InvalidParamsError, "priors: 1 for 4"),
        (CANDIDATES, {"priors": 3}, InvalidParamsError, r"priors=3: .* Sequence"),
        (
            CANDIDATES,
            {"priors": [1, 1, 0, 1]},
            InvalidParamsError,
            r"priors\.2=0: .* greater than 0",
        ),
        (CANDIDATES, {"guidance_scales": [1, 2]}, InvalidParamsError, "at least 4"),
        (CANDIDATES, {"guidance_scales": [1, 2, 3, 99]}, GuidanceScaleError, "p = 99"),
        (CANDIDATES, {"least_odds": 1}, InvalidParamsError, "least_odds=1"),
        (CANDIDATES, {"guidance_scales": [-1, 1, 2, 3]}, InvalidParamsError, "from 0 up"),
        (CANDIDATES, {"min_examples": 0}, InvalidParamsError, "min_examples=0"),
        (CANDIDATES, {"temperature": 0}, InvalidParamsError, "temperature=0"),
        (CANDIDATES, {"temperature": 1e-3}, InvalidParamsError, "greater than or equal to 0.01"),
        (CANDIDATES, {"max_kl": -1}, InvalidParamsError, "max_kl=-1: give a bound in nats"),
        (CANDIDATES, {"separator": 3}, InvalidParamsError, "separator=3: .* valid string"),
    ],
)
def test_bad_settings_are_refused_before_any_computing(
    untouched, candidates, options, error, message
):
    examples = [Example(question="Why?", accepted="So be it. " * 40)]
    with pytest.raises(error, match=message) as caught:
        rank_preferences(untouched, candidates, examples, **options)
    assert TRUE not in str(caught.value)


def test_what_is_too_long_is_named_before_any_computing(untouched):
    examples = [
        Example(question="Why?", accepted="So."),
        Example(question="Why?", rejected="So. " * 400),
    ]
    with pytest.raises(ContextLengthError, match=r"examples\[1\]"):
        rank_preferences(untouched, CANDIDATES, examples)
