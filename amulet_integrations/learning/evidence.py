"""What examples say for each candidate, with the strength integrated out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amulet_integrations.learning.likelihood import Floats
from amulet_integrations.learning.spline import Spline

_POINTS = 201
_SEED = 0  # the same examples give the same ranking


@dataclass(frozen=True, repr=False)
class Evidence:
    """Log-likelihoods of examples for candidates at guidance scales.

    Attributes:
        scales: The guidance scales, rising, shape (scales,).
        log_likelihoods: In nats, shape (examples, candidates, scales).
    """

    scales: Floats
    log_likelihoods: Floats

    def log_evidence(self) -> Floats:
        """The log-likelihood of all examples for each candidate, its scale integrated out."""
        grid, curves = self._curves(np.ones((1, len(self.log_likelihoods))))
        evidence: Floats = _log_mean(grid, curves)[0]
        return evidence

    def likeliest_scales(self) -> Floats:
        """The guidance scale under which the examples are likeliest, for each candidate."""
        grid, curves = self._curves(np.ones((1, len(self.log_likelihoods))))
        likeliest: Floats = grid[curves[0].argmax(axis=0)]
        return likeliest

    def probabilities(self, log_priors: Floats, resamples: int) -> Floats:
        """The posterior over the candidates, shape (candidates,).

        A posterior over models that are all wrong jumps to certainty for whichever is a little
        less so. Hence the posteriors of many resamples of the examples (with replacement) are
        averaged: a candidate that leads by the grace of two examples does not lead in the samples
        without them. This is BayesBag (Buehlmann, 2014; Huggins and Miller, Bayesian Analysis,
        2023). It leaves clear evidence clear, and a single example as it is.

        Args:
            log_priors: Shape (candidates,).
            resamples: How many; 0 gives the plain posterior.
        """
        count = len(self.log_likelihoods)
        draws: Floats = np.ones((1, count))
        if resamples:
            generator = np.random.default_rng(_SEED)
            draws = generator.multinomial(count, [1.0 / count] * count, resamples).astype(float)
        posterior = _log_mean(*self._curves(draws)) + log_priors
        posterior -= posterior.max(axis=1, keepdims=True)
        shares = np.exp(posterior)
        mean: Floats = (shares / shares.sum(axis=1, keepdims=True)).mean(axis=0)
        return mean

    def _curves(self, draws: Floats) -> tuple[Floats, Floats]:
        """A dense grid, and the total curves there, shape (draws, points, candidates)."""
        totals = np.einsum("de,ecs->sdc", draws, self.log_likelihoods)
        grid: Floats = np.linspace(float(self.scales[0]), float(self.scales[-1]), _POINTS)
        curves = Spline(self.scales, totals.reshape(len(self.scales), -1))(grid)
        return grid, curves.reshape(_POINTS, *totals.shape[1:]).swapaxes(0, 1)


def _log_mean(grid: Floats, curves: Floats) -> Floats:
    """The log of the mean of exp(curves) over the grid, by trapezoids: (draws, candidates)."""
    weights = np.full(len(grid), 1.0)
    weights[[0, -1]] = 0.5
    top = curves.max(axis=1, keepdims=True)
    mean = (np.exp(curves - top) * weights[:, None]).sum(axis=1) / weights.sum()
    result: Floats = np.log(mean) + top[:, 0]
    return result
