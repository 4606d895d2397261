"""A cubic spline through points: curves known at few places, read anywhere between."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from amulet_integrations.learning.likelihood import Floats

FEWEST_KNOTS = 4


class Spline:
    """Cubic splines with the not-a-knot condition at both ends, all with the same knots.

    Args:
        knots: Where the values are known, rising, shape (knots,), at least 4.
        values: The values there, shape (knots, curves).
    """

    def __init__(self, knots: Floats, values: Floats) -> None:
        self.knots = knots
        self.values = values
        self._bends = _second_derivatives(knots, values)

    def __call__(self, at: Floats) -> Floats:
        """The values at other places within the knots: shape (places,) to (places, curves)."""
        cell, width, left, right = self._place(at)
        y, m = self.values, self._bends
        return (
            left * y[cell]
            + right * y[cell + 1]
            + ((left**3 - left) * m[cell] + (right**3 - right) * m[cell + 1]) * width**2 / 6.0
        )

    def slope(self, at: Floats) -> Floats:
        """The first derivatives, same shapes."""
        cell, width, left, right = self._place(at)
        y, m = self.values, self._bends
        rise = (y[cell + 1] - y[cell]) / width
        bend = (3.0 * right**2 - 1.0) * m[cell + 1] - (3.0 * left**2 - 1.0) * m[cell]
        return rise + bend * width / 6.0

    def bend(self, at: Floats) -> Floats:
        """The second derivatives, same shapes."""
        cell, _, left, right = self._place(at)
        return left * self._bends[cell] + right * self._bends[cell + 1]

    def _place(self, at: Floats) -> tuple[NDArray[np.intp], Floats, Floats, Floats]:
        """The cell of each place, its width, and how near the place is to either end of it."""
        cell = np.clip(np.searchsorted(self.knots, at, side="right") - 1, 0, len(self.knots) - 2)
        width = (self.knots[cell + 1] - self.knots[cell])[:, None]
        right = (at - self.knots[cell])[:, None] / width
        return cell, width, 1.0 - right, right


def spread(knots: Floats, values: Floats, at: Floats) -> Floats:
    """Curves given by rows, read at other places: shape (curves, knots) to (curves, places)."""
    return Spline(knots, values.T)(at).T


def _second_derivatives(x: Floats, y: Floats) -> Floats:
    """At the knots, shape (knots, curves): the usual tridiagonal system, solved as a dense one."""
    h = np.diff(x)
    count = len(x)
    system = np.zeros((count, count))
    right = np.zeros_like(y)
    for i in range(1, count - 1):
        system[i, i - 1 : i + 2] = h[i - 1], 2.0 * (h[i - 1] + h[i]), h[i]
        right[i] = 6.0 * ((y[i + 1] - y[i]) / h[i] - (y[i] - y[i - 1]) / h[i - 1])
    # Not a knot: the third derivative goes on across the second point from each end.
    system[0, :3] = h[1], -(h[0] + h[1]), h[0]
    system[-1, -3:] = h[-1], -(h[-2] + h[-1]), h[-2]
    return np.asarray(np.linalg.solve(system, right), dtype=np.float64)
