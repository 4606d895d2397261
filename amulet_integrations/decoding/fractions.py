"""The largest fraction of the way from one policy to another that a bound on divergence allows.

With gap = log pi_1 - log pi_0, the policies between the two are softmax(log pi_0 + t gap). Their
divergence from pi_0,

    KL(t) = t E_t[gap] - log E_0[exp(t gap)],      dKL/dt = t Var_t[gap] >= 0,

grows with t. The fraction t is first searched among the likely tokens, in float64 on the CPU, since
they are few. From there one or two evaluations over the whole vocabulary are enough.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_LIKELY = -8.0  # log-probability above which a token is likely
_ROUGH, _CLOSE = 0.1, 2e-3  # tolerances of the divergence, as shares of the bound
_MAX_TOLERANCE = 5e-4  # nats, however large the bound is
_UNLIKELY = -80.0  # nats below the likeliest token; further down float32 is slow, then 0
_MAX_STEPS = 64
_BISECT_EVERY = 4  # steps
_TINY = 1e-300  # in place of 0 as a divisor
_SAME = 1e-14  # difference of fractions that float64 hardly resolves

Floats = NDArray[np.float64]
_Rows = NDArray[np.intp]
_Divergence = Callable[[_Rows, Floats], tuple[Floats, Floats]]
"""f(rows, their fractions) -> their KL(t) and its derivatives by t, each of shape (rows,)."""


def largest_fractions(start: Tensor, end: Tensor, max_kl: Floats) -> Floats:
    """The largest fraction from 0 to 1 at which each row's divergence is within its bound.

    Args:
        start: Log-probabilities at fraction 0, shape (rows, vocab), float32, finite.
        end: Log-probabilities at fraction 1, same shape. It is overwritten.
        max_kl: The bounds in nats, shape (rows,).

    Returns:
        Shape (rows,). 1 where nothing is held back, and for rows of NaN.
    """
    likely, likely_gap = _likely_tokens(start, end)
    gap = end.sub_(start)

    def over_likely(rows: _Rows, fraction: Floats) -> tuple[Floats, Floats]:
        return _divergence(fraction, *_sums_of_likely(likely[rows], likely_gap[rows], fraction))

    def over_all(rows: _Rows, fraction: Floats) -> tuple[Floats, Floats]:
        return _divergence(fraction, *_sums(start, gap, rows, fraction))

    guess = _first_guess(likely, likely_gap, max_kl)
    guess = _search(over_likely, max_kl, guess, _ROUGH * max_kl)
    return _search(over_all, max_kl, guess, np.minimum(_CLOSE * max_kl, _MAX_TOLERANCE))


def _likely_tokens(start: Tensor, end: Tensor) -> tuple[Floats, Floats]:
    """Log-probabilities and gaps of the tokens that are likely at 0 or at 1, (rows, tokens).

    Rows are padded with -inf and 0. The log-probabilities are normalised again.
    """
    likely = (start > _LIKELY) | (end > _LIKELY)
    if likely.device.type == "cpu":
        places = torch.from_numpy(np.flatnonzero(likely.numpy()))  # several times as fast
    else:
        places = likely.flatten().nonzero()[:, 0]
    counts = np.bincount(places.cpu().numpy() // likely.shape[-1], minlength=len(likely))
    used = np.arange(max(1, counts.max())) < counts[:, None]
    logs, gaps = np.full(used.shape, -np.inf), np.zeros(used.shape)
    ends = torch.stack([start.view(-1)[places], end.view(-1)[places]]).cpu().double().numpy()
    logs[used], gaps[used] = ends[0], ends[1] - ends[0]
    with np.errstate(divide="ignore", invalid="ignore"):  # a row of NaN has no likely token
        logs -= np.log(np.exp(logs).sum(axis=-1, keepdims=True))
    return logs, gaps


def _first_guess(start: Floats, gap: Floats, max_kl: Floats) -> Floats:
    """For a small fraction t, KL(t) is t^2 / 2 times the variance of the gap at 0."""
    policy = np.exp(start)
    mean = (policy * gap).sum(axis=-1, keepdims=True)
    variance = (policy * (gap - mean) ** 2).sum(axis=-1)
    guess: Floats = np.sqrt(2.0 * max_kl / np.maximum(variance, _TINY))
    return np.minimum(guess, 1.0)


def _search(divergence: _Divergence, max_kl: Floats, guess: Floats, tolerance: Floats) -> Floats:
    """Newton's method on the root of the divergence, which is nearly linear in the fraction.

    Args:
        divergence: Computes KL(t) and its derivative for some rows.
        max_kl: The bounds, shape (rows,).
        guess: The first fractions, at most 1, shape (rows,).
        tolerance: How near to its bound a divergence has to be, in nats, shape (rows,).

    Returns:
        The fractions at which the divergences are their bounds, shape (rows,).
    """
    fraction = np.where(max_kl > 0.0, guess, 0.0)
    low, high = np.zeros_like(fraction), np.full_like(fraction, 2.0)  # 1 has not been tried
    rows = np.flatnonzero(max_kl > 0.0)
    for step in range(1, _MAX_STEPS + 1):
        if not rows.size:
            break
        at, bound = fraction[rows], max_kl[rows]
        value, slope = divergence(rows, at)
        over = value > bound
        low[rows] = below = np.where(over, low[rows], at)
        high[rows] = above = np.where(over, at, high[rows])
        root = np.sqrt(np.maximum(value, 0.0))
        following = at - 2.0 * root * (root - np.sqrt(bound)) / np.maximum(slope, _TINY)
        following = np.minimum(following, 1.0)
        # Bisect where Newton's step leaves the interval, and now and then lest steps be too short.
        usable = (below < following) & (following < above) & (step % _BISECT_EVERY != 0)
        following = np.where(usable, following, np.minimum(0.5 * (below + above), 1.0))
        # The fraction just tried and not the next one: beyond a plateau anything may come.
        close = np.abs(value - bound) <= tolerance[rows]
        following = np.where(close, at, following)
        exhausted = (above - below < _SAME) | (step == _MAX_STEPS)
        following = np.where(exhausted, below, following)
        unbounded = np.isnan(value) | ((at >= 1.0) & ~over)
        fraction[rows] = np.where(unbounded, 1.0, following)
        rows = rows[~(close | exhausted | unbounded)]
    return fraction


def _divergence(
    fraction: Floats, highest: Floats, total: Floats, first: Floats, second: Floats
) -> tuple[Floats, Floats]:
    """KL(t) and its derivative by t, from sums over the tokens, all of shape (rows,).

    Args:
        fraction: t.
        highest: The largest of start + t gap.
        total: The sum of odds = exp(start + t gap - highest).
        first: The sum of odds * gap.
        second: The sum of odds * gap^2.
    """
    mean = first / total
    normaliser = highest + np.log(total)
    return fraction * mean - normaliser, fraction * (second / total - mean**2)


def _sums_of_likely(start: Floats, gap: Floats, fraction: Floats) -> tuple[Floats, ...]:
    """The arguments of `_divergence` from the likely tokens, (rows, tokens)."""
    logits = start + fraction[:, None] * gap
    highest = logits.max(axis=-1)
    odds = np.exp(logits - highest[:, None])
    weighted = odds * gap
    return highest, odds.sum(axis=-1), weighted.sum(axis=-1), (weighted * gap).sum(axis=-1)


def _sums(start: Tensor, gap: Tensor, rows: _Rows, fraction: Floats) -> Floats:
    """The arguments of `_divergence` from the whole vocabulary, shape (4, rows)."""
    part = torch.from_numpy(fraction).to(start.dtype).to(start.device)[:, None]
    if len(rows) < len(start):
        start, gap = start[rows], gap[rows]
    logits = torch.addcmul(start, gap, part)
    highest = logits.amax(dim=-1, keepdim=True)
    odds = logits.sub_(highest).clamp_min_(_UNLIKELY).exp_()
    total = odds.sum(dim=-1)
    first = odds.mul_(gap).sum(dim=-1)
    sums = torch.stack([highest[..., 0], total, first, odds.mul_(gap).sum(dim=-1)])
    return sums.cpu().double().numpy()
