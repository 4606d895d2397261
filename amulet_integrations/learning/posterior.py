"""The posterior of a guidance scale, from log-likelihoods at a few scales."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from .policy_likelihood import Floats

_POINTS = 2001
_NEGLIGIBLE = 40.0  # nats below the highest: e^-40 of its density


@dataclass(frozen=True)
class Posterior:
    """The posterior of a guidance scale whose prior is uniform over a range.

    Attributes:
        mode: The likeliest scale.
        interval: The equal-tailed credible interval. Where the mode is outside of it, at an end of
            the range, the interval begins at the mode and has all of its tail on the other side.
        dispersion: How much more the examples differ than the likelihood predicts, at least 1.
    """

    mode: float
    interval: tuple[float, float]
    dispersion: float

    @classmethod
    def of(cls, scales: Floats, log_likelihoods: Floats, level: float) -> Posterior:
        """Computes the posterior.

        The curves are smooth, so a cubic spline interpolates them between the scales. The density
        is integrated by trapezoids, on a grid that is refined to where the density is.

        A likelihood holds only if answers are written as it assumes. Where they are not, examples
        pull in different directions by more than it expects, and the interval would be too narrow.
        So the log-likelihood is divided by the dispersion: the variance of the examples' slopes
        at the mode over the curvature (the two are equal where the model is right: the information
        identity), as in quasi-likelihood (McCullagh and Nelder, 1989, chapter 9) and in the
        magnitude adjustment of Ribatet et al. (Statistica Sinica, 2012). Below 1 it counts as 1,
        so intervals only ever get wider.

        Args:
            scales: Where the curves are known, rising, shape (scales,).
            log_likelihoods: The curve of each example, in nats, shape (examples, scales).
            level: The probability of the interval.
        """
        each = CubicSpline(scales, log_likelihoods, axis=1)
        total = CubicSpline(scales, log_likelihoods.sum(axis=0))
        mode = _mode(total, scales[0], scales[-1])
        dispersion = _dispersion(each(mode, 1), -float(total(mode, 2)))
        grid, density = _density(lambda at: total(at) / dispersion, scales[0], scales[-1])
        mass = np.concatenate([[0.0], np.cumsum(np.diff(grid) * (density[1:] + density[:-1]) / 2)])
        mass /= mass[-1]

        def quantile(share: float) -> float:
            return float(np.interp(share, mass, grid))

        low, high = quantile((1.0 - level) / 2.0), quantile((1.0 + level) / 2.0)
        if mode < low:
            low, high = mode, quantile(level)
        elif mode > high:
            low, high = quantile(1.0 - level), mode
        return cls(mode, (low, high), dispersion)


def _mode(curve: Callable[[Floats], Floats], low: float, high: float) -> float:
    for _ in range(3):
        grid = np.linspace(low, high, _POINTS)
        top = int(curve(grid).argmax())
        low, high = grid[max(top - 1, 0)], grid[min(top + 1, _POINTS - 1)]
    return float(grid[top])


def _dispersion(slopes: Floats, information: float) -> float:
    """The variance of the examples' slopes over the information, that is minus the curvature."""
    if len(slopes) == 1 or information <= 0.0:
        return 1.0
    return max(1.0, len(slopes) * float(slopes.var(ddof=1)) / information)


def _density(curve: Callable[[Floats], Floats], low: float, high: float) -> tuple[Floats, Floats]:
    """A grid where the density exp(curve) is, and the density there, scaled to at most 1."""
    for _ in range(3):
        grid = np.linspace(low, high, _POINTS)
        log_density = curve(grid)
        log_density -= log_density.max()
        (kept,) = np.nonzero(log_density > -_NEGLIGIBLE)
        low, high = grid[max(kept[0] - 1, 0)], grid[min(kept[-1] + 1, _POINTS - 1)]
    return grid, np.exp(log_density)
