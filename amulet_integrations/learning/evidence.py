"""The evidence of examples for each candidate preference, with the strength integrated out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import log_expit, logsumexp, softmax

from amulet_integrations.decoding.strength import MaxKL
from amulet_integrations.engine import Engine
from amulet_integrations.profiles import Preference

from .guidance_scales import interpolate
from .policy_likelihood import Floats, Policy, log_likelihoods, policies_at
from .tokenized_answers import TokenizedAnswer

_CONTEXTS = 15  # preference contexts that are scored at once, beside the base
_SLIP = 0.01  # the share of tokens that the base writes
_LAPSE = 0.05  # the share of choices that are made blindly
_SEED = 0  # the same examples give the same ranking


def log_choice_probability(margin: Floats, lapse: float) -> Floats:
    """The log-probability that a user chooses the answer with the higher reward.

    The choice is Bradley and Terry's, sigmoid(margin), but for a share of choices that are made
    blindly. Without those one slip of the hand would count for the whole margin, which adds up
    over an answer's tokens to dozens of nats; with them it costs log(lapse / 2) at most. (They are
    the lapses of psychometric functions: Wichmann and Hill, Perception & Psychophysics, 2001.)

    Args:
        margin: The reward of the accepted answer minus that of the rejected one, in nats.
        lapse: The share of blind choices, from 0 to 1.

    Returns:
        log((1 - lapse) sigmoid(margin) + lapse / 2), same shape.
    """
    log_sigmoid: Floats = log_expit(margin)
    if lapse == 0.0:
        return log_sigmoid
    mixed: Floats = np.logaddexp(np.log1p(-lapse) + log_sigmoid, np.log(lapse / 2.0))
    return mixed


def choice_curves(scales: Floats, margins: Floats, grid: Floats, lapse: float) -> Floats:
    """The log-probability of a choice on a grid, from margins at a few guidance scales.

    Margins are smooth in the scale and are interpolated. The log-probability of a choice is not:
    where a large margin changes its sign, a spline through a few log-probabilities would swing by
    dozens of nats.

    Args:
        scales: Where the margins are known, rising, shape (scales,).
        margins: In nats, shape (candidates, scales).
        grid: Where the curves are wanted, shape (points,).
        lapse: The share of blind choices, from 0 to 1.

    Returns:
        Shape (candidates, points), never above 0.
    """
    return log_choice_probability(interpolate(scales, margins, grid), lapse)


@dataclass(frozen=True, repr=False)
class CandidateScorer:
    """Scores examples under all candidates, over a range of guidance scales.

    Attributes:
        engine: Computes the likelihoods.
        candidates: The preferences; None stands for the base alone.
        scales: The guidance scales that are scored.
        grid: The scales at which curves are wanted, between the first and the last of `scales`.
        temperature: The temperature of the policies.
        max_kl: Their bound.
    """

    engine: Engine
    candidates: Sequence[Preference | None]
    scales: Sequence[float]
    grid: Floats
    temperature: float
    max_kl: MaxKL

    def log_likelihood(
        self, accepted: TokenizedAnswer | None, rejected: TokenizedAnswer | None
    ) -> Floats:
        """The log-likelihood of an example, in nats, shape (candidates, points of the grid).

        Args:
            accepted: The accepted answer. Its contexts are the base's and then one for each
                candidate that is a preference, in order.
            rejected: The rejected answer, with the same contexts.
        """
        scales = np.array(self.scales)
        if accepted is not None and rejected is None:
            base, rewards = self._rewards(accepted)
            return base + interpolate(scales, rewards, self.grid)
        margin = np.zeros((len(self.candidates), len(self.scales)))
        if accepted is not None:
            margin += self._rewards(accepted)[1]
        if rejected is not None:
            margin -= self._rewards(rejected)[1]
        return choice_curves(scales, margin, self.grid, _LAPSE)

    def _rewards(self, answer: TokenizedAnswer) -> tuple[float, Floats]:
        """An answer's log P_base, and log P - log P_base, shape (candidates, scales)."""
        base, *contexts = answer.contexts
        rewards = np.zeros((len(self.candidates), len(self.scales)))
        preferences = [(i, it.weight) for i, it in enumerate(self.candidates) if it is not None]
        log_base = 0.0
        for start in range(0, len(preferences), _CONTEXTS):
            part = slice(start, start + _CONTEXTS)
            places, weights = zip(*preferences[part], strict=True)
            policies: list[Policy] = []
            for alone in np.diag(weights).tolist():  # one preference has its weight, the others 0
                policies += policies_at(self.scales, alone, self.max_kl)
            (found,) = log_likelihoods(
                self.engine,
                replace(answer, contexts=[base, *contexts[part]]),
                policies,
                [_SLIP],
                self.temperature,
            )
            log_base = float(found[0])
            rewards[list(places)] = found[1:].reshape(-1, len(self.scales)) - log_base
        return log_base, rewards


@dataclass(frozen=True, repr=False)
class Evidence:
    """Log-likelihoods of examples for candidates, on a grid of guidance scales.

    Attributes:
        grid: The guidance scales, rising by even steps, shape (points,).
        curves: In nats, shape (examples, candidates, points).
    """

    grid: Floats
    curves: Floats

    def log_evidence(self) -> Floats:
        """The log-likelihood of all examples for each candidate, its scale integrated out."""
        return _log_mean(self.curves.sum(axis=0))

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
        averaged: a candidate that leads because of two examples does not lead in the resamples
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
        posteriors = _log_mean(np.tensordot(draws, self.curves, axes=1)) + log_priors
        mean: Floats = softmax(posteriors, axis=1).mean(axis=0)
        return mean


def _log_mean(curves: Floats) -> Floats:
    """The log of the mean of exp(curves) over their last axis, by trapezoids of one width."""
    weights = np.full(curves.shape[-1], 1.0)
    weights[[0, -1]] = 0.5
    mean: Floats = logsumexp(curves, axis=-1, b=weights / weights.sum())
    return mean
