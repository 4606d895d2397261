"""The posterior of one number, from its log-likelihood at a few places."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amulet_integrations.learning.likelihood import Floats
from amulet_integrations.learning.spline import Spline

_POINTS = 2001
_NEGLIGIBLE = 40.0  # nats below the highest: e^-40 of its density


@dataclass(frozen=True)
class Posterior:
    """What examples say about a number with a uniform prior over a range.

    Attributes:
        mode: Its likeliest value.
        interval: The equal-tailed credible interval; where the mode is outside of it, at an end of
            the range, the interval begins there and has all of its tail on the other side.
        dispersion: How much more the examples differ than the likelihood has it, at least 1.
    """

    mode: float
    interval: tuple[float, float]
    dispersion: float

    @classmethod
    def of(cls, places: Floats, log_likelihoods: Floats, level: float) -> Posterior:
        """Works the posterior out.

        The curves are smooth, so a cubic spline gives them between the places; the density is
        then added up by trapezoids, on a grid that is made anew where the density is.

        A likelihood holds only if answers are written as it says. Where they are not, examples
        pull in different directions by more than it expects, and the interval would be too narrow.
        So the log-likelihood is divided by the dispersion: the variance of the examples' slopes
        at the mode over the curvature (the two are equal where the model is right: the information
        identity), as in quasi-likelihood (McCullagh and Nelder, 1989, chapter 9) and in the
        magnitude adjustment of Ribatet et al. (Statistica Sinica, 2012). Below 1 it counts as 1,
        so intervals only ever get wider.

        Args:
            places: Where the curves are known, rising, shape (places,).
            log_likelihoods: The curve of each example, in nats, shape (examples, places).
            level: The probability of the interval.
        """
        total = Spline(places, log_likelihoods.sum(axis=0)[:, None])
        mode = _mode(total)
        dispersion = _dispersion(total, Spline(places, log_likelihoods.T), mode)
        grid, density = _density(total, dispersion)
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


def _mode(curve: Spline) -> float:
    low, high = curve.knots[0], curve.knots[-1]
    for _ in range(3):
        grid = np.linspace(low, high, _POINTS)
        top = int(curve(grid)[:, 0].argmax())
        low, high = grid[max(top - 1, 0)], grid[min(top + 1, _POINTS - 1)]
    return float(grid[top])


def _dispersion(total: Spline, each: Spline, mode: float) -> float:
    at = np.array([mode])
    slopes = each.slope(at)[0]
    information = -float(total.bend(at)[0, 0])
    if len(slopes) == 1 or information <= 0.0:
        return 1.0
    return max(1.0, len(slopes) * float(slopes.var(ddof=1)) / information)


def _density(total: Spline, dispersion: float) -> tuple[Floats, Floats]:
    """A grid where the density is, and the density there, its highest value 1."""
    low, high = total.knots[0], total.knots[-1]
    for _ in range(3):
        grid = np.linspace(low, high, _POINTS)
        log_density = total(grid)[:, 0] / dispersion
        log_density -= log_density.max()
        (kept,) = np.nonzero(log_density > -_NEGLIGIBLE)
        low, high = grid[max(kept[0] - 1, 0)], grid[min(kept[-1] + 1, _POINTS - 1)]
    return grid, np.exp(log_density)
