"""The evidence of choices and of single examples."""

from __future__ import annotations

import numpy as np
import pytest

from amulet_integrations.learning.evidence import (
    Evidence,
    choice_curves,
    log_choice_probability,
)


def test_choices_are_sigmoid_and_bounded():
    margin = np.array([-2000.0, -1.0, 0.0, 3.0, 2000.0])
    sigmoid = 1.0 / (1.0 + np.exp(-np.clip(margin, -700, 700)))
    np.testing.assert_allclose(
        np.exp(log_choice_probability(margin, 0.1)), 0.9 * sigmoid + 0.05, rtol=1e-12
    )
    exact = log_choice_probability(margin, 0.0)
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
    found = choice_curves(knots, margins(knots), grid, lapse)
    np.testing.assert_allclose(
        found, log_choice_probability(margins(grid), lapse), rtol=0, atol=0.1
    )
    assert found.max() <= 0.0


def test_one_example_among_many_does_not_decide():
    scales = np.array([1.0, 2.0, 3.0, 4.0])
    gains = np.array([-1.0] * 9 + [30.0])  # nine speak for the first, one loudly for the second
    curves = np.zeros((10, 2, 4))
    curves[:, 1] = gains[:, None]
    evidence = Evidence(scales, curves)
    even = np.log([0.5, 0.5])
    assert evidence.probabilities(even, 0)[1] > 0.999
    # The loud one is left out of (9/10)^10 = 0.35 of the resamples.
    assert evidence.probabilities(even, 2000)[1] == pytest.approx(1 - 0.9**10, abs=0.03)
