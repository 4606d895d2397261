"""Amulet's parameters and the number their game comes down to."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amulet_integrations import AmuletParams, SamplingParams
from amulet_integrations.decoding import check_guidance_scale
from amulet_integrations.errors import (
    AmuletError,
    GuidanceScaleError,
    InvalidParamsError,
    UnknownArgumentError,
)


@pytest.mark.parametrize(
    ("iterations", "scale"),
    [(0, 1.0), (1, 1.95238), (2, 2.46341), (10, 3.89756), (60, 5.64870)],
)
def test_scales_of_the_default_game_are_the_published_ones(iterations, scale):
    assert AmuletParams(iterations=iterations).guidance_scale == pytest.approx(scale, abs=5e-6)


def test_a_greedy_game_grows_past_any_use():
    params = AmuletParams(alpha=4, lambda_=0.5, eta=10, iterations=15)
    assert params.guidance_scale == pytest.approx(143_055, abs=1)


def test_the_scale_converges_to_its_limit_when_lambda_is_above_alpha():
    # q = alpha/lambda < 1: the limit is lambda / (lambda - alpha).
    assert AmuletParams(alpha=1, lambda_=4, iterations=10_000).guidance_scale == pytest.approx(
        4 / 3, rel=1e-3
    )


@given(
    alpha=st.fractions(0, 5, max_denominator=20),
    lambda_=st.fractions(0, 5, max_denominator=20),
    eta=st.fractions(Fraction(1, 10), 20, max_denominator=20),
    iterations=st.integers(0, 12),
)
def test_the_scale_is_the_recurrence_in_exact_arithmetic(alpha, lambda_, eta, iterations):
    scales = [Fraction(1)]
    for t in range(1, iterations + 1):
        drift = eta * alpha * sum(scales) + lambda_ * eta * t + scales[-1]
        scales.append(drift / (t * lambda_ * eta + 1))
    params = AmuletParams(
        alpha=float(alpha), lambda_=float(lambda_), eta=float(eta), iterations=iterations
    )
    assert params.guidance_scale == pytest.approx(float(scales[-1]), rel=1e-12)


@given(st.floats(0.01, 1e4))
def test_parameters_are_found_for_a_scale(scale):
    assert AmuletParams.from_guidance_scale(scale).guidance_scale == pytest.approx(scale, rel=1e-9)


@pytest.mark.parametrize(
    "values",
    [
        {"alpha": float("nan")},
        {"alpha": "strong"},
        {"lambda_": -0.1},
        {"eta": 0.0},
        {"eta": float("inf")},
        {"iterations": -1},
        {"iterations": 2.5},
        {"iterations": 10_001},
    ],
)
def test_bad_parameters_are_refused_by_name(values):
    with pytest.raises(InvalidParamsError, match=next(iter(values))) as caught:
        AmuletParams(**values)
    assert isinstance(caught.value, ValueError)


def test_a_misspelt_name_is_refused_with_the_right_one():
    with pytest.raises(UnknownArgumentError, match="did you mean 'alpha'"):
        AmuletParams(alhpa=2)


def test_a_scale_that_no_float_holds_is_an_error():
    with pytest.raises(GuidanceScaleError, match="no float holds"):
        _ = AmuletParams(lambda_=0, iterations=1000).guidance_scale


@pytest.mark.parametrize("scale", [float("nan"), float("inf")])
def test_no_parameters_end_at_an_unreal_scale(scale):
    with pytest.raises(InvalidParamsError, match="finite"):
        AmuletParams.from_guidance_scale(scale)


def test_parameters_are_frozen_hashable_and_copied_with_validation():
    params = AmuletParams()
    with pytest.raises(Exception, match="frozen"):
        params.alpha = 3.0
    assert hash(params) == hash(AmuletParams())
    assert params.model_copy(update={"iterations": 2}).guidance_scale == pytest.approx(
        2.46341, abs=1e-5
    )
    with pytest.raises(InvalidParamsError, match="iterations"):
        params.model_copy(update={"iterations": -2})


def test_the_bound_on_the_scale_names_both_numbers():
    assert check_guidance_scale(20.0) == 20.0
    with pytest.raises(GuidanceScaleError, match=r"p = 20\.5 is past max_guidance_scale = 20"):
        check_guidance_scale(20.5)
    with pytest.raises(GuidanceScaleError, match=r"p = 20\.5 \(from preset='x'\) is past"):
        check_guidance_scale(20.5, source="preset='x'")
    with pytest.raises(GuidanceScaleError):
        check_guidance_scale(-3.0, maximum=2.0)
    with pytest.raises(GuidanceScaleError):
        check_guidance_scale(float("nan"))


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": -0.1},
        {"temperature": float("inf")},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"top_k": -1},
        {"min_p": 1.5},
        {"repetition_penalty": 0.0},
        {"repetition_penalty": 1e-40},
        {"max_new_tokens": 0},
        {"seed": -1},
        {"stop": [""]},
        {"stop": ["x"] * 65},
        {"stop": [3]},
    ],
)
def test_bad_sampling_parameters_are_refused_by_name(values):
    with pytest.raises(InvalidParamsError, match=next(iter(values))):
        SamplingParams(**values)


def test_one_stop_string_is_as_good_as_a_list():
    assert SamplingParams(stop="END") == SamplingParams(stop=["END"])
    assert SamplingParams(stop=None).stop == ()


def test_every_error_is_an_amulet_error_when_json_is_read():
    with pytest.raises(AmuletError, match="eta"):
        AmuletParams.model_validate_json('{"eta": 0}')


@pytest.mark.parametrize("scale", [1.0, 1.5, 4.0])
def test_a_scale_of_one_or_more_keeps_the_default_game(scale):
    found, default = AmuletParams.from_guidance_scale(scale), AmuletParams()
    assert (found.lambda_, found.eta, found.iterations) == (
        default.lambda_,
        default.eta,
        default.iterations,
    )
