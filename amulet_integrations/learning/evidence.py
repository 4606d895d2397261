"""What examples say for each candidate, with the strength integrated out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amulet_integrations.learning.likelihood import Floats

_SEED = 0  # the same examples give the same ranking


@dataclass(frozen=True, repr=False)
class Evidence:
    """Log-likelihoods of examples for candidates, all over a grid of guidance scales.

    Attributes:
        grid: The guidance scales, rising by even steps, shape (points,).
        curves: In nats, shape (examples, candidates, points).
    """

    grid: Floats
    curves: Floats

    def log_evidence(self) -> Floats:
        """The log-likelihood of all examples for each candidate, its scale integrated out."""
        evidence: Floats = _log_mean(self.curves.sum(axis=0)[None])[0]
        return evidence

    def likeliest_scales(self) -> list[float | None]:
        """The guidance scale under which the examples are likeliest, for each candidate.

        None where that is an end of the grid: the likeliest one may lie outside of it.
        """
        ends = {0, len(self.grid) - 1}
        tops = self.curves.sum(axis=0).argmax(axis=-1).tolist()
        return [None if top in ends else float(self.grid[top]) for top in tops]

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
        count = len(self.curves)
        draws: Floats = np.ones((1, count))
        if resamples:
            generator = np.random.default_rng(_SEED)
            draws = generator.multinomial(count, [1.0 / count] * count, resamples).astype(float)
        posterior = _log_mean(np.tensordot(draws, self.curves, axes=1)) + log_priors
        posterior -= posterior.max(axis=1, keepdims=True)
        shares = np.exp(posterior)
        mean: Floats = (shares / shares.sum(axis=1, keepdims=True)).mean(axis=0)
        return mean


def _log_mean(curves: Floats) -> Floats:
    """The log of the mean of exp(curves) over their last axis, by trapezoids of one width."""
    weights = np.full(curves.shape[-1], 1.0)
    weights[[0, -1]] = 0.5
    top = curves.max(axis=-1, keepdims=True)
    result: Floats = np.log((np.exp(curves - top) @ weights) / weights.sum()) + top[..., 0]
    return result
