"""Curves and posteriors, against functions that are known everywhere."""

from __future__ import annotations

import numpy as np
import pytest

from amulet_integrations.learning.choices import curves_of_choice, log_probability_of_choice
from amulet_integrations.learning.posterior import Posterior
from amulet_integrations.learning.scales import default_scales
from amulet_integrations.learning.spline import Spline
from tests.unit.learning.oracle import interval

PLACES = np.arange(0.0, 10.1, 0.5)


def gaussian(mean: float, deviation: float, places=PLACES):
    return -0.5 * ((places - mean) / deviation) ** 2


def test_a_spline_is_exact_for_cubics():
    knots = np.array([0.0, 0.3, 1.0, 2.5, 4.0])
    cubic = np.polynomial.Polynomial([1.0, -2.0, 0.5, 0.25])
    at = np.linspace(0.0, 4.0, 41)
    spline = Spline(knots, np.stack([cubic(knots), -cubic(knots)], axis=1))
    np.testing.assert_allclose(spline(at)[:, 0], cubic(at), atol=1e-12)
    np.testing.assert_allclose(spline(at)[:, 1], -cubic(at), atol=1e-12)
    np.testing.assert_allclose(spline.slope(at)[:, 0], cubic.deriv()(at), atol=1e-12)
    np.testing.assert_allclose(spline.bend(at)[:, 0], cubic.deriv(2)(at), atol=1e-12)


def test_a_spline_is_near_what_is_smooth():
    at = np.linspace(0.0, 10.0, 999)
    spline = Spline(PLACES, np.log(np.cosh(PLACES - 3.0))[:, None])
    np.testing.assert_allclose(spline(at)[:, 0], np.log(np.cosh(at - 3.0)), atol=2e-2)


@pytest.mark.parametrize("deviation", [0.004, 0.1, 0.8])
def test_the_posterior_of_a_gaussian(deviation):
    found = Posterior.of(PLACES, gaussian(4.2, deviation)[None], level=0.95)
    assert found.mode == pytest.approx(4.2, abs=1e-5)
    low, high = found.interval
    assert (low, high) == pytest.approx(
        (4.2 - 1.95996 * deviation, 4.2 + 1.95996 * deviation), abs=0.002 * deviation
    )
    assert found.dispersion == 1.0


def test_intervals_are_those_of_a_fine_sum():
    def skewed(places):
        return 30.0 * np.log1p(places) - 9.0 * places

    fine = np.linspace(0.0, 10.0, 100_001)
    found = Posterior.of(PLACES, skewed(PLACES)[None], level=0.8)
    assert found.interval == pytest.approx(interval(fine, skewed(fine), 0.8), abs=2e-3)
    assert found.mode == pytest.approx(30.0 / 9.0 - 1.0, abs=2e-3)


def test_a_mode_at_the_end_is_inside_the_interval():
    low = Posterior.of(PLACES, (-8.0 * PLACES)[None], level=0.95)
    assert low.mode == low.interval[0] == 0.0
    assert low.interval[1] == pytest.approx(-np.log(0.05) / 8.0, rel=1e-2)
    high = Posterior.of(PLACES, (8.0 * PLACES)[None], level=0.95)
    assert high.mode == high.interval[1] == 10.0


def test_examples_that_disagree_widen_the_interval():
    alike = np.stack([gaussian(5.0, 1.0)] * 8)
    apart = np.stack([gaussian(5.0 + shift, 1.0) for shift in (-3, -2, -1, -1, 1, 1, 2, 3)])
    sure, unsure = (Posterior.of(PLACES, curves, level=0.95) for curves in (alike, apart))
    assert sure.dispersion == 1.0
    # The variance of the means over the one that each example claims.
    assert unsure.dispersion == pytest.approx(30.0 / 7.0)
    ratio = np.diff(unsure.interval)[0] / np.diff(sure.interval)[0]
    assert ratio == pytest.approx((30.0 / 7.0) ** 0.5, rel=1e-3)


def test_choices_are_sigmoid_and_bounded():
    margin = np.array([-2000.0, -1.0, 0.0, 3.0, 2000.0])
    sigmoid = 1.0 / (1.0 + np.exp(-np.clip(margin, -700, 700)))
    np.testing.assert_allclose(
        np.exp(log_probability_of_choice(margin, 0.1)), 0.9 * sigmoid + 0.05, rtol=1e-12
    )
    exact = log_probability_of_choice(margin, 0.0)
    assert exact[0] == -2000.0
    assert exact[2] == pytest.approx(-np.log(2.0))


@pytest.mark.parametrize("lapse", [0.0, 0.05])
@pytest.mark.parametrize("crossing", [1.0, 2.2, 4.5, 7.0])
def test_choices_are_exact_between_wide_knots(lapse, crossing):
    """Large margins that change sign between knots: a spline through choices would swing."""
    knots = np.array([0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.5, 8.0])

    def margins(scales):
        # Straight ones, and ones that bend as log-partition functions do.
        bent = 60.0 * (np.log(np.cosh(scales / 4.0)) - np.log(np.cosh(crossing / 4.0)))
        return np.stack([20.0 * (scales - crossing), -60.0 * (scales - crossing), bent, -bent])

    grid = np.linspace(0.5, 8.0, 201)
    found = curves_of_choice(knots, margins(knots), grid, lapse)
    np.testing.assert_allclose(
        found, log_probability_of_choice(margins(grid), lapse), rtol=0, atol=0.1
    )
    assert found.max() <= 0.0


@pytest.mark.parametrize("maximum", [0.1, 0.3, 0.5, 1.0, 5.0, 5.0000001, 12.5, 20.0, 1e3, 150_000])
def test_default_scales_rise_without_a_jump(maximum):
    scales = default_scales(maximum)
    steps = np.diff(scales)
    assert (scales[0], scales[-1]) == (0.0, maximum)
    assert 4 <= len(scales) <= 100
    assert (steps >= min(0.1, maximum / 4.0)).all()
    assert (steps[1:] <= 2.6 * steps[:-1]).all()


def test_default_scales_are_few_for_usual_bounds():
    assert len(default_scales(20.0)) <= 34
    assert len(default_scales(1e4)) <= 80
