"""Posteriors, against distributions that are known exactly."""

from __future__ import annotations

import numpy as np
import pytest

from amulet_integrations.learning.posterior import Posterior
from tests.unit.learning.oracle import interval

SCALES = np.arange(0.0, 10.1, 0.5)


def gaussian(mean: float, deviation: float, scales=SCALES):
    return -0.5 * ((scales - mean) / deviation) ** 2


@pytest.mark.parametrize("deviation", [0.004, 0.1, 0.8])
def test_the_posterior_of_a_gaussian(deviation):
    found = Posterior.of(SCALES, gaussian(4.2, deviation)[None], level=0.95)
    assert found.mode == pytest.approx(4.2, abs=1e-5)
    low, high = found.interval
    assert (low, high) == pytest.approx(
        (4.2 - 1.95996 * deviation, 4.2 + 1.95996 * deviation), abs=0.002 * deviation
    )
    assert found.dispersion == 1.0


def test_intervals_are_those_of_a_fine_sum():
    def skewed(scales):
        return 30.0 * np.log1p(scales) - 9.0 * scales

    fine = np.linspace(0.0, 10.0, 100_001)
    found = Posterior.of(SCALES, skewed(SCALES)[None], level=0.8)
    assert found.interval == pytest.approx(interval(fine, skewed(fine), 0.8), abs=2e-3)
    assert found.mode == pytest.approx(30.0 / 9.0 - 1.0, abs=2e-3)


def test_a_mode_at_the_end_is_inside_the_interval():
    low = Posterior.of(SCALES, (-8.0 * SCALES)[None], level=0.95)
    assert low.mode == low.interval[0] == 0.0
    assert low.interval[1] == pytest.approx(-np.log(0.05) / 8.0, rel=1e-2)
    high = Posterior.of(SCALES, (8.0 * SCALES)[None], level=0.95)
    assert high.mode == high.interval[1] == 10.0


def test_examples_that_disagree_widen_the_interval():
    alike = np.stack([gaussian(5.0, 1.0)] * 8)
    apart = np.stack([gaussian(5.0 + shift, 1.0) for shift in (-3, -2, -1, -1, 1, 1, 2, 3)])
    sure, unsure = (Posterior.of(SCALES, curves, level=0.95) for curves in (alike, apart))
    assert sure.dispersion == 1.0
    # The variance of the means over the one that each example claims.
    assert unsure.dispersion == pytest.approx(30.0 / 7.0)
    ratio = np.diff(unsure.interval)[0] / np.diff(sure.interval)[0]
    assert ratio == pytest.approx((30.0 / 7.0) ** 0.5, rel=1e-3)
