"""Default scales, and curves between scales against functions that are known everywhere."""

from __future__ import annotations

import numpy as np
import pytest

from amulet_integrations.learning.guidance_scales import default_scales, interpolate


def test_a_spline_is_exact_for_cubics():
    knots = np.array([0.0, 0.3, 1.0, 2.5, 4.0])
    cubic = np.polynomial.Polynomial([1.0, -2.0, 0.5, 0.25])
    at = np.linspace(0.0, 4.0, 41)
    curves = interpolate(knots, np.stack([cubic(knots), -cubic(knots)]), at)
    np.testing.assert_allclose(curves, np.stack([cubic(at), -cubic(at)]), atol=1e-12)


KNOTS = np.arange(0.0, 10.1, 0.5)


def test_a_spline_is_near_what_is_smooth():
    at = np.linspace(0.0, 10.0, 999)
    curves = interpolate(KNOTS, np.log(np.cosh(KNOTS - 3.0))[None], at)
    np.testing.assert_allclose(curves[0], np.log(np.cosh(at - 3.0)), atol=2e-2)


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
