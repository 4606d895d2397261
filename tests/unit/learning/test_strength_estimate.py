"""A strength is estimated from answers, as a slow sum over a fine grid has it."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pytest

from amulet_integrations import AmuletParams, Preference, PreferenceProfile
from amulet_integrations.decoding.strength import PRESETS, Strength
from amulet_integrations.engine import LocalEngine
from amulet_integrations.errors import (
    ContextLengthError,
    EngineClosedError,
    EvidenceError,
    GuidanceScaleError,
    InvalidParamsError,
    InvalidProfileError,
    PromptError,
)
from amulet_integrations.learning import Example, StrengthEstimate, estimate_strength
from tests.support.tiny import tiny_engine as make_tiny_engine
from tests.unit.learning import digits, oracle
from tests.unit.learning.digits import DigitsEngine, accepted

TEXT = "Be brief."
PROFILE = PreferenceProfile(user_id="ann", preferences=[TEXT], max_kl=None)
ANSWERS = ["The sea is blue. ", "Be a helpful assistant!", "You are a user, and the sea is wide."]
EXAMPLES = [Example(question=f"What is it, on day {n}?", accepted=a) for n, a in enumerate(ANSWERS)]
FEW = {"min_tokens": 1, "min_examples": 3}
COARSE = [0.0, 0.5, 1.5, 3.0, 6.0]
ANYTHING = {"scales": COARSE, "widest_interval": 99.0, **FEW}

LARGE = PreferenceProfile(user_id="ann", preferences=[digits.LARGE], max_kl=None)


def curve(scales, preferences=((TEXT, 1.0),), **options) -> np.ndarray:
    return np.array(
        [
            sum(
                oracle.log_likelihood(one.question, one.accepted, preferences, scale, **options)
                for one in EXAMPLES
            )
            for scale in scales
        ]
    )


@pytest.fixture
def untouched(tiny_engine, monkeypatch) -> LocalEngine:
    """An engine that must not compute."""
    monkeypatch.setattr(tiny_engine, "backend", None)
    return tiny_engine


@pytest.mark.parametrize(
    "options",
    [
        {"max_kl": None},
        {"slip": 0.02, "max_kl": None},
        {"temperature": 1.5, "max_kl": None},
        {"temperature": 1.5, "max_kl": 0.3},
    ],
)
def test_likelihoods_are_those_of_plain_forward_passes(tiny_engine, options):
    options = {"slip": 0.0, **options}
    found = estimate_strength(tiny_engine, PROFILE, EXAMPLES, **ANYTHING, **options)
    np.testing.assert_allclose(found.log_likelihoods, curve(COARSE, **options), atol=5e-3)


def test_weights_are_shared_out_as_in_decoding(tiny_engine):
    both = PreferenceProfile(
        user_id="ann",
        preferences=[Preference(text=TEXT, weight=0.5), Preference(text="Be a sea.", weight=-0.25)],
        max_kl=None,
    )
    found = estimate_strength(tiny_engine, both, EXAMPLES, slip=0.0, **ANYTHING)
    expected = curve(COARSE, [(TEXT, 0.5), ("Be a sea.", -0.25)])
    np.testing.assert_allclose(found.log_likelihoods, expected, atol=5e-3)


def test_the_posterior_is_that_of_a_sum_over_a_fine_grid(tiny_engine):
    found = estimate_strength(tiny_engine, PROFILE, EXAMPLES, slip=0.0, **FEW)
    fine = np.linspace(0.0, 4.0, 401)
    exact = curve(fine)
    assert found.guidance_scale == pytest.approx(fine[exact.argmax()], abs=0.02)
    finer = np.linspace(0.0, 4.0, 40_001)
    exact = np.interp(finer, fine, exact) / found.dispersion
    assert found.interval == pytest.approx(oracle.interval(finer, exact, 0.95), abs=0.01)


def test_without_slips_and_bounds_the_log_likelihood_is_concave(tiny_engine):
    scales = np.linspace(0.0, 10.0, 21).tolist()
    found = estimate_strength(
        tiny_engine, PROFILE, EXAMPLES, **{**ANYTHING, "scales": scales}, slip=0.0
    )
    assert (np.diff(found.log_likelihoods, 2) < 0.0).all()


@pytest.mark.parametrize("scale", [0.5, 2.0, 5.0])
def test_the_scale_is_found_again(scale):
    engine = DigitsEngine()
    found = [
        estimate_strength(engine, LARGE, accepted(digits.LARGE, scale, seed, examples=30))
        for seed in range(20)
    ]
    assert engine.calls == 20 * 30
    assert sum(one.interval[0] <= scale <= one.interval[1] for one in found) >= 17
    middle = float(np.median([one.guidance_scale for one in found]))
    assert middle == pytest.approx(scale, abs=0.1 + 0.1 * scale)
    one = found[0]
    assert one.interval[0] < one.guidance_scale < one.interval[1]
    assert (one.tokens, one.examples, one.level) == (600, 30, 0.95)
    assert one.params.guidance_scale == pytest.approx(one.guidance_scale)


BOUND = PRESETS["default"].max_kl
WITHOUT_BOUND = PreferenceProfile(user_id="ann", preferences=[digits.LARGE])


@pytest.mark.parametrize("scale", [0.5, 1.5])
def test_the_scale_is_found_again_under_the_default_bound(scale):
    found = [
        estimate_strength(
            DigitsEngine(),
            WITHOUT_BOUND,
            accepted(digits.LARGE, scale, seed, examples=60, max_kl=BOUND),
        )
        for seed in range(10)
    ]
    assert sum(one.interval[0] <= scale <= one.interval[1] for one in found) >= 8
    middle = float(np.median([one.guidance_scale for one in found]))
    assert middle == pytest.approx(scale, abs=0.15)
    assert {one.max_kl for one in found} == {"default" if scale < 1.0 else BOUND}


def test_where_the_bound_held_everything_back_nothing_is_found():
    # Every token has the same policy, so that from 2.43 on all strengths write alike.
    examples = accepted(digits.LARGE, 5.0, 0, examples=60, max_kl=0.2)
    with pytest.raises(EvidenceError, match=r"wider than .* Under max_kl=0\.2 strong scales"):
        estimate_strength(DigitsEngine(), LARGE, examples, max_kl=0.2)
    # They look like weaker ones that nothing held back.
    found = estimate_strength(DigitsEngine(), LARGE, examples, max_kl=None)
    assert found.guidance_scale == pytest.approx(2.43, abs=0.25)
    assert found.max_kl is None


def test_the_bound_is_the_calls_or_the_profiles_or_the_default():
    examples = accepted(digits.LARGE, 1.5, 0, examples=60)

    def learned(**options):
        profile = WITHOUT_BOUND.model_copy(update=options.pop("profile", {}))
        return estimate_strength(DigitsEngine(), profile, examples, **options)

    assert learned().max_kl == BOUND
    assert learned(profile={"max_kl": 0.5}) == learned(max_kl=0.5)
    assert learned(profile={"preset": "strong"}) == learned(max_kl=PRESETS["strong"].max_kl)
    assert learned(profile={"preset": "paper"}).max_kl is None
    assert learned(profile={"max_kl": 0.5}, max_kl=None) == learned(max_kl=None)


def test_a_bound_of_ones_own_holds_weak_guidance_back_too():
    # KL(base || pref) is 0.16 a digit here: under 0.05 no policy comes near the base.
    found = {
        max_kl: estimate_strength(
            DigitsEngine(), LARGE, accepted(digits.LARGE, 0.0, 0), max_kl=max_kl, slip=0.0
        )
        for max_kl in (0.05, "default")
    }
    flat = np.array(found[0.05].log_likelihoods)[:3]
    assert np.ptp(flat) < 1e-3
    assert found["default"].log_likelihoods[0] > flat[0] + 0.5


def test_only_active_preferences_count():
    limited = PreferenceProfile(
        user_id="ann",
        preferences=[
            Preference(text=digits.LARGE, when={"task": "email"}),
            Preference(text=digits.ODD, valid_until=datetime(2020, 1, 1, tzinfo=UTC)),
        ],
        max_kl=None,
    )
    examples = accepted(digits.LARGE, 2.0, 0)
    found = estimate_strength(DigitsEngine(), limited, examples, context={"task": "email"})
    assert found == estimate_strength(DigitsEngine(), LARGE, examples)
    with pytest.raises(EvidenceError, match="None of the 2 preferences of 'ann' is in force"):
        estimate_strength(DigitsEngine(), limited, examples)


def test_odd_tokens_move_little():
    examples = accepted(digits.LARGE, 6.0, 0, examples=30)
    spoilt = [one.model_copy(update={"accepted": "012" + one.accepted[3:]}) for one in examples[:6]]
    given = [*spoilt, *examples[6:]]
    clean = estimate_strength(DigitsEngine(), LARGE, examples)
    naive = estimate_strength(DigitsEngine(), LARGE, given, slip=0.0, widest_interval=9.0)
    found = estimate_strength(DigitsEngine(), LARGE, given)
    assert naive.interval[1] < clean.guidance_scale
    assert naive.dispersion > 3.0
    assert found.interval[0] <= clean.guidance_scale <= found.interval[1]
    assert (clean.slip, found.slip) == (0.01, 0.03)


def test_rejected_answers_do_not_count():
    examples = accepted(digits.LARGE, 2.0, 0)
    more = [*examples, Example(question="Why?", rejected="1")]
    assert estimate_strength(DigitsEngine(), LARGE, more) == estimate_strength(
        DigitsEngine(), LARGE, examples
    )


def test_an_estimate_is_applied_to_a_copy():
    estimate = StrengthEstimate(
        guidance_scale=3.0,
        max_kl=0.2,
        interval=(2.0, 4.0),
        level=0.95,
        tokens=100,
        examples=5,
        dispersion=1.0,
        slip=0.001,
        scales=(0.0, 1.0),
        log_likelihoods=(-2.0, -1.0),
    )
    for strength in ({"params": AmuletParams()}, {"preset": "strong"}, {"guidance_scale": 1.5}):
        stored = PROFILE.model_copy(update={"version": 4, "max_kl": 0.1, **strength})
        changed = estimate.apply_to(stored)
        assert changed.strength == Strength(guidance_scale=3.0, max_kl=0.2)
        assert (changed.version, changed.preferences) == (4, PROFILE.preferences)
        assert (changed.method, stored.max_kl) == (None, 0.1)
    other = stored.model_copy(update={"method": "pref"})
    assert estimate.apply_to(other).method == "amulet"
    assert "log_likelihoods" not in repr(estimate)
    assert TEXT not in repr(estimate)


def test_answers_that_go_against_the_preference_are_at_zero():
    found = estimate_strength(DigitsEngine(), LARGE, accepted(digits.LARGE, -2.0, 0))
    assert found.guidance_scale == found.interval[0] == 0.0
    assert found.interval[1] < 0.5


def test_too_little_is_refused():
    engine, examples = DigitsEngine(), accepted(digits.LARGE, 2.0, 0)
    with pytest.raises(EvidenceError, match="4 accepted answers, fewer than min_examples=5"):
        estimate_strength(engine, LARGE, [*examples[:4], Example(question="Why?", rejected="1")])
    with pytest.raises(EvidenceError, match=r"examples\[10\] is the same as examples\[3\]"):
        estimate_strength(engine, LARGE, [*examples, examples[3]])
    with pytest.raises(EvidenceError, match=r"The 3 answers have 60 tokens .* min_tokens=64"):
        estimate_strength(engine, LARGE, examples[:3])
    with pytest.raises(EvidenceError, match="None of the 1 examples has an accepted answer"):
        estimate_strength(engine, LARGE, [Example(question="Why?", rejected="1")])
    assert engine.calls == 0
    with pytest.raises(EvidenceError, match=r"between .* wider than widest_interval=0\.05"):
        estimate_strength(engine, LARGE, examples, widest_interval=0.05)
    with pytest.raises(EvidenceError, match="likeliest at 1, the strongest guidance scale"):
        estimate_strength(engine, LARGE, examples, max_guidance_scale=1.0)
    with pytest.raises(EvidenceError, match=r"likeliest at 4, the weakest .* begin with 0"):
        estimate_strength(engine, LARGE, examples, scales=[4.0, 5.0, 6.0, 7.0])


def test_answers_without_evidence_are_refused_whatever_the_range():
    nothing = PreferenceProfile(user_id="ann", preferences=["Nothing of the kind."])
    examples = accepted(None, 0.0, 0)
    with pytest.raises(EvidenceError, match="wider than half of the range looked at"):
        estimate_strength(DigitsEngine(), nothing, examples, max_guidance_scale=1.0)
    with pytest.raises(EvidenceError, match=r"likeliest at|wider than widest_interval=2"):
        estimate_strength(DigitsEngine(), nothing, examples)


def test_numbers_of_numpy_are_numbers():
    examples = accepted(digits.LARGE, 2.0, 0)
    options = {"temperature": np.float32(1.0), "min_tokens": np.int64(64), "slip": np.float64(0.0)}
    plain = estimate_strength(DigitsEngine(), LARGE, examples, slip=0.0)
    assert estimate_strength(DigitsEngine(), LARGE, examples, **options) == plain


def test_a_large_bound_costs_a_few_knots():
    examples = accepted(digits.LARGE, 2.0, 0)
    usual = estimate_strength(DigitsEngine(), LARGE, examples)
    wide = estimate_strength(DigitsEngine(), LARGE, examples, max_guidance_scale=600.0)
    assert len(wide.scales) < 60
    assert wide.guidance_scale == pytest.approx(usual.guidance_scale, abs=0.01)
    assert wide.interval == pytest.approx(usual.interval, abs=0.02)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"temperature": 0.0}, InvalidParamsError, "temperature=0.0"),
        ({"temperature": math.nan}, InvalidParamsError, "temperature=nan"),
        (
            {"temperature": 0.001},
            InvalidParamsError,
            "temperature=0.001: .* greater than or equal to 0.01",
        ),
        ({"max_kl": -0.1}, InvalidParamsError, "max_kl=-0.1: give a bound in nats"),
        ({"max_kl": math.nan}, InvalidParamsError, "max_kl=nan"),
        ({"max_kl": "none"}, InvalidParamsError, "max_kl='none'"),
        ({"separator": 3}, InvalidParamsError, "separator=3: .* valid string"),
        (
            {"chat_template_kwargs": ["a"]},
            InvalidParamsError,
            r"chat_template_kwargs=\['a'\]: .* valid dictionary",
        ),
        ({"context": "email"}, InvalidProfileError, "context: .* is a str"),
        ({"context": {"task": 3}}, InvalidProfileError, "context: .* is a int"),
        ({"level": 1.0}, InvalidParamsError, "level=1.0: .* less than 1"),
        ({"slip": 1.0}, InvalidParamsError, "slip=1.0"),
        ({"slip": "a"}, InvalidParamsError, "slip='a'"),
        ({"slip": False}, InvalidParamsError, "slip=False"),
        ({"min_examples": 0}, InvalidParamsError, "min_examples=0"),
        ({"scales": [-1.0, 0.0, 1.0, 2.0]}, InvalidParamsError, "from 0 up"),
        ({"scales": [0, 1, 2, 10**400]}, InvalidParamsError, "scales="),
        (
            {"max_guidance_scale": 10**400},
            InvalidParamsError,
            "max_guidance_scale=1000.*: .* valid number",
        ),
        ({"min_tokens": 0}, InvalidParamsError, "min_tokens=0"),
        ({"min_tokens": 2.5}, InvalidParamsError, "min_tokens=2.5"),
        ({"widest_interval": -1}, InvalidParamsError, "widest_interval=-1"),
        ({"scales": [1.0, 2.0, 3.0]}, InvalidParamsError, "at least 4 guidance scales"),
        ({"scales": [1.0, 2.0, 2.0, 3.0]}, InvalidParamsError, "each larger"),
        ({"scales": [1.0, 2.0, 3.0, 30.0]}, GuidanceScaleError, "p = 30"),
        ({"scales": [1.0, 2.0, 3.0, math.nan]}, GuidanceScaleError, "p = nan"),
        ({"scales": 3.0}, InvalidParamsError, "scales=3.0"),
        ({"scales": ["a"] * 4}, InvalidParamsError, "scales="),
        ({"max_guidance_scale": 0}, InvalidParamsError, "max_guidance_scale=0"),
        ({"examples": ["So."]}, EvidenceError, r"examples\[0\] is a str"),
        ({"examples": 5}, EvidenceError, "examples is a int"),
        ({"chat_template_kwargs": {"messages": 1}}, PromptError, r"examples\[0\]: .*messages"),
    ],
)
def test_bad_settings_are_refused_before_any_computing(untouched, options, error, message):
    options = {"examples": [Example(question="Why?", accepted="So be it. " * 40)], **options}
    with pytest.raises(error, match=message):
        estimate_strength(untouched, PROFILE, options.pop("examples"), **options)


def test_what_is_too_long_is_named_before_any_computing(untouched):
    long = Example(question="Why? " * 400, accepted="So.")
    fine = Example(question="Why?", accepted="So.")
    with pytest.raises(ContextLengthError, match=r"examples\[1\]: a context of \d+ tokens"):
        estimate_strength(untouched, PROFILE, [fine, long], min_tokens=1)
    long = Example(question="Why?", accepted="So. " * 400)
    with pytest.raises(ContextLengthError, match=r"examples\[0\]: .* context window of 640"):
        estimate_strength(untouched, PROFILE, [long])


def test_a_profile_with_a_parent_or_none_at_all_is_refused(untouched):
    child = PROFILE.model_copy(update={"parent": "everybody"})
    with pytest.raises(EvidenceError, match="parent='everybody'"):
        estimate_strength(untouched, child, [Example(question="Why?", accepted="So.")])
    with pytest.raises(
        InvalidParamsError, match=r"profile is a str: .* instance of PreferenceProfile"
    ):
        estimate_strength(untouched, TEXT, [Example(question="Why?", accepted="So.")])


def test_errors_of_the_engine_name_the_example():
    engine = make_tiny_engine()
    engine.close()
    with pytest.raises(EngineClosedError, match=r"examples\[0\]: The engine was closed"):
        estimate_strength(engine, PROFILE, EXAMPLES, **FEW)


def test_examples_may_be_pairs_and_dicts(tiny_engine):
    expected = estimate_strength(tiny_engine, PROFILE, EXAMPLES, **ANYTHING)
    pairs = [(one.question, one.accepted) for one in EXAMPLES]
    dicts = [{"question": question, "accepted": accepted} for question, accepted in pairs]
    for examples in (pairs, dicts):
        assert estimate_strength(tiny_engine, PROFILE, examples, **ANYTHING) == expected


@pytest.mark.parametrize(
    ("example", "message"),
    [
        ({"my dog Rex": "ate it"}, "a name that Example does not have"),
        ({"question": "Is it?"}, r"examples\[0\]: accepted and rejected are both missing"),
        (("Is it?", "Yes.", "No."), "is a tuple"),
        (7, "is a int"),
    ],
)
def test_what_is_no_example_is_refused_without_quoting_it(untouched, example, message):
    with pytest.raises(EvidenceError, match=message) as caught:
        estimate_strength(untouched, PROFILE, [example])
    assert "Rex" not in str(caught.value)
