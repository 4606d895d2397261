"""How far from one policy towards another a bound on the divergence allows, for a batch of them.

With way = log pi_1 - log pi_0, the policies between are softmax(log pi_0 + t way), and their
divergence from pi_0,

    KL(t) = t E_t[way] - log E_0[exp(t way)],      dKL/dt = t Var_t[way] >= 0,

grows with t. The fraction is searched for among the likely tokens first, in float64 on the CPU:
they are few. From there one or two looks at the whole vocabulary are enough.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_LIKELY = -8.0  # log-probability, for the first look
_ROUGHLY, _CLOSELY = 0.1, 2e-3  # shares of the bound within which a divergence is at it
_CLOSEST = 5e-4  # nats within which it is, however large the bound
_UNLIKELY = -80.0  # nats below the likeliest; further down float32 has slow numbers, then none
_MOST_STEPS = 64
_HALVING = 4  # every so many steps
_TINY = 1e-300  # in place of 0 as a divisor
_SAME = 1e-14  # fractions that a float64 hardly tells apart

Floats = NDArray[np.float64]
_Rows = NDArray[np.intp]
_Divergence = Callable[[_Rows, Floats], tuple[Floats, Floats]]
"""f(rows, their fractions) -> their KL(t) and its derivatives by t, each of shape (rows,)."""


def largest_fractions(start: Tensor, end: Tensor, max_kl: Floats) -> Floats:
    """The largest fraction from 0 to 1 at which each row's divergence is within its bound.

    Args:
        start: Log-probabilities at 0, shape (rows, vocab), float32, finite.
        end: The same at 1; it is written over.
        max_kl: The bounds in nats, shape (rows,).

    Returns:
        Shape (rows,). 1 where nothing is held back, and for rows of NaN.
    """
    likely, likely_way = _likely(start, end)
    way = end.sub_(start)

    def among_likely(rows: _Rows, fraction: Floats) -> tuple[Floats, Floats]:
        return _divergence(fraction, *_small_sums(likely[rows], likely_way[rows], fraction))

    def among_all(rows: _Rows, fraction: Floats) -> tuple[Floats, Floats]:
        return _divergence(fraction, *_sums(start, way, rows, fraction))

    guess = _first_guess(likely, likely_way, max_kl)
    guess = _search(among_likely, max_kl, guess, _ROUGHLY * max_kl)
    return _search(among_all, max_kl, guess, np.minimum(_CLOSELY * max_kl, _CLOSEST))


def _likely(start: Tensor, end: Tensor) -> tuple[Floats, Floats]:
    """The tokens that are likely at 0 or at 1: where they start, and their ways; (rows, tokens).

    Rows are padded with -inf and 0, and the log-probabilities normalised anew.
    """
    likely = (start > _LIKELY) | (end > _LIKELY)
    if likely.device.type == "cpu":
        places = torch.from_numpy(np.flatnonzero(likely.numpy()))  # several times as fast
    else:
        places = likely.flatten().nonzero()[:, 0]
    counts = np.bincount(places.cpu().numpy() // likely.shape[-1], minlength=len(likely))
    held = np.arange(max(1, counts.max())) < counts[:, None]
    logs, ways = np.full(held.shape, -np.inf), np.zeros(held.shape)
    ends = torch.stack([start.view(-1)[places], end.view(-1)[places]]).cpu().double().numpy()
    logs[held], ways[held] = ends[0], ends[1] - ends[0]
    with np.errstate(divide="ignore", invalid="ignore"):  # a row of NaN has no likely token
        logs -= np.log(np.exp(logs).sum(axis=-1, keepdims=True))
    return logs, ways


def _first_guess(start: Floats, way: Floats, max_kl: Floats) -> Floats:
    """For a small fraction t, KL(t) is t^2 / 2 times the variance at 0."""
    policy = np.exp(start)
    mean = (policy * way).sum(axis=-1, keepdims=True)
    variance = (policy * (way - mean) ** 2).sum(axis=-1)
    guess: Floats = np.sqrt(2.0 * max_kl / np.maximum(variance, _TINY))
    return np.minimum(guess, 1.0)


def _search(divergence: _Divergence, max_kl: Floats, guess: Floats, close: Floats) -> Floats:
    """The fractions at which divergences are their bounds, shape (rows,).

    Args:
        divergence: Tells the divergences of some rows.
        max_kl: The bounds, shape (rows,).
        guess: Where to begin, at most 1.
        close: How near to its bound a divergence has to be, in nats, shape (rows,).
    """
    each = zip(max_kl.tolist(), guess.tolist(), close.tolist(), strict=True)
    roots = [_Root(*one) for one in each]
    while left := [row for row, root in enumerate(roots) if not root.done]:
        fraction = np.array([roots[row].fraction for row in left])
        told = divergence(np.array(left), fraction)
        for row, value, slope in zip(left, *(each.tolist() for each in told), strict=True):
            roots[row].tell(value, slope)
    return np.array([root.fraction for root in roots])


class _Root:
    """Newton's method on the root of a divergence, which is nearly linear in the fraction.

    Attributes:
        fraction: Where to look next; once it is done, what was found.
        done: Whether it is.
    """

    def __init__(self, max_kl: float, guess: float, close: float) -> None:
        self._max_kl = max_kl
        self._close = close
        self._low, self._high = 0.0, 2.0  # 1 has not been tried
        self._steps = 0
        self.done = max_kl == 0.0
        self.fraction = 0.0 if self.done else guess

    def tell(self, divergence: float, slope: float) -> None:
        """Is told KL(t) and its derivative at `fraction`."""
        at = self.fraction
        if math.isnan(divergence) or (at >= 1.0 and divergence <= self._max_kl):
            self.fraction, self.done = 1.0, True
            return
        if divergence > self._max_kl:
            self._high = at
        else:
            self._low = at
        root = math.sqrt(max(divergence, 0.0))
        step = 2.0 * root * (root - math.sqrt(self._max_kl)) / max(slope, _TINY)
        newton = min(at - step, 1.0)
        usable = self._low < newton < self._high
        self._steps += 1
        if self._high - self._low < _SAME or self._steps >= _MOST_STEPS:
            self.fraction, self.done = self._low, True
        # The place itself and not the next one: beyond a plateau anything may come.
        elif abs(divergence - self._max_kl) <= self._close:
            self.done = True
        # Now and then a halving, lest the steps be too short.
        elif usable and self._steps % _HALVING:
            self.fraction = newton
        else:
            self.fraction = min(0.5 * (self._low + self._high), 1.0)


def _divergence(
    fraction: Floats, highest: Floats, total: Floats, first: Floats, second: Floats
) -> tuple[Floats, Floats]:
    """KL(t) and its derivative by t, from sums over the tokens.

    Args:
        fraction: t, shape (rows,).
        highest: The largest of start + t way.
        total: The sum of odds = exp(start + t way - highest).
        first: The sum of odds * way.
        second: The sum of odds * way^2.
    """
    mean = first / total
    normaliser = highest + np.log(total)
    return fraction * mean - normaliser, fraction * (second / total - mean**2)


def _small_sums(start: Floats, way: Floats, fraction: Floats) -> tuple[Floats, ...]:
    """What `_divergence` needs, from tokens (rows, tokens); each of shape (rows,)."""
    logits = start + fraction[:, None] * way
    highest = logits.max(axis=-1)
    odds = np.exp(logits - highest[:, None])
    weighted = odds * way
    return highest, odds.sum(axis=-1), weighted.sum(axis=-1), (weighted * way).sum(axis=-1)


def _sums(start: Tensor, way: Tensor, rows: _Rows, fraction: Floats) -> Floats:
    """What `_divergence` needs, from the whole vocabulary; shape (4, rows)."""
    part = torch.from_numpy(fraction).to(start.dtype).to(start.device)[:, None]
    if len(rows) < len(start):
        start, way = start[rows], way[rows]
    logits = torch.addcmul(start, way, part)
    highest = logits.amax(dim=-1, keepdim=True)
    odds = logits.sub_(highest).clamp_min_(_UNLIKELY).exp_()
    total = odds.sum(dim=-1)
    first = odds.mul_(way).sum(dim=-1)
    sums = torch.stack([highest[..., 0], total, first, odds.mul_(way).sum(dim=-1)])
    return sums.cpu().double().numpy()
