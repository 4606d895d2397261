"""A bound on how far guidance may take a policy from the pref policy, token by token.

Guidance extrapolates: at strength p the policy is pi_p ∝ pi_pref (pi_pref / pi_base)^(p-1), and
where the two contexts differ by many nats it picks tokens that neither of them finds plausible. The
bound is the constrained form of Amulet's own objective: of all policies within `max_kl` nats of
pi_pref, the one with the largest expected advantage E[log pi_pref - log pi_base]. It is a policy of
the same family, softmax(z_1 + t (z_p - z_1)) with a fraction t from 0 to 1, where z_1 and z_p are
the logits at guidance 1 and at p. Its divergence from pi_pref,

    KL(t) = t E_t[z_p - z_1] - log E_1[exp(t (z_p - z_1))],      dKL/dt = t Var_t[z_p - z_1] >= 0,

grows with t, so one number for each request is searched.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from amulet_integrations.decoding.mixture import mix_contexts, mixing_matrix

_LIKELY = 10.0  # nats below the likeliest token, for the first look
_ROUGHLY, _CLOSELY = 0.1, 0.01  # shares of the bound from where one more step is enough
_UNLIKELY = -80.0  # nats, past which float32 has slow numbers and then none
_MOST_STEPS = 64
_HALVING = 4  # every so many steps
_TINY = 1e-300  # in place of 0 as a divisor
_SAME = 1e-14  # fractions that a float64 hardly tells apart


class DivergenceBounds:
    """The bounds of a batch of requests.

    Args:
        reference: For each request, the weights of its contexts at guidance 1: the policy from
            which the divergence is measured.
        max_kl: For each request its bound in nats, at least 0; None where it has none.
        device: Where the logits will be.

    Attributes:
        requests: Which requests have a bound, int64, shape (bounded,).
        reference: Their rows of the mixing matrix at guidance 1, shape (bounded, rows).
        max_kl: Their bounds, float64, shape (bounded,).
    """

    def __init__(
        self,
        reference: Sequence[Sequence[float]],
        max_kl: Sequence[float | None],
        device: torch.device | str = "cpu",
    ) -> None:
        bounded = [index for index, bound in enumerate(max_kl) if bound is not None]
        exact = _exact_device(torch.device(device))
        self.requests = torch.tensor(bounded, dtype=torch.int64, device=device)
        self.reference = mixing_matrix(reference, device)[self.requests]
        bounds = [bound for bound in max_kl if bound is not None]
        self.max_kl = torch.tensor(bounds, dtype=torch.float64, device=exact)

    def __bool__(self) -> bool:
        return len(self.requests) > 0


class BoundedMixture(NamedTuple):
    """What a batch of requests is decoded with.

    Attributes:
        logits: Of every request's policy, shape (requests, vocab), float32.
        matrix: The weights that make it, shape (requests, rows).
        fractions: How much of the way from guidance 1 to its own weights each request went,
            shape (requests,), float64; 1 where nothing held it back.
    """

    logits: Tensor
    matrix: Tensor
    fractions: Tensor


def mix_bounded_contexts(
    logits: Tensor, matrix: Tensor, bounds: DivergenceBounds | None = None
) -> BoundedMixture:
    """Mixes the contexts of every request of a batch, each as far as its bound allows.

    Where a bound binds, the divergence KL(policy || policy at guidance 1) is within 1e-3 nats of
    it; elsewhere the policy is that of `mix_contexts`, bit for bit. A token that is -inf in one of
    a request's contexts is excluded, and both policies are taken over the others.

    Args:
        logits: Logits of every context, shape (rows, vocab), any floating dtype.
        matrix: The weights asked for, shape (requests, rows), from `mixing_matrix`.
        bounds: The bounds of these requests; None for none.

    Returns:
        The policies and what they are made of. A request whose contexts hold NaN or +inf has a
        row of NaN, as in `mix_contexts`.
    """
    mixed = mix_contexts(logits, matrix)
    exact = _exact_device(logits.device)
    fractions = torch.ones(len(matrix), dtype=torch.float64, device=exact)
    if not bounds:
        return BoundedMixture(mixed, matrix, fractions)
    asked = mixed[bounds.requests]
    reference = mix_contexts(logits, bounds.reference)
    excluded = _excluded(asked, reference)
    if excluded is not None:
        asked = asked.masked_fill(excluded, -torch.inf)
        reference = reference.masked_fill(excluded, -torch.inf)
        mixed[bounds.requests] = asked
    found = _largest_fractions(reference, asked, bounds.max_kl)
    fractions[bounds.requests.to(exact)] = found
    held = found < 1.0
    if bool(held.any()):
        held = held.to(logits.device)
        which = bounds.requests[held]
        start = bounds.reference[held]
        matrix = matrix.clone()
        matrix[which] = start + found.to(matrix)[held, None] * (matrix[which] - start)
        bounded = mix_contexts(logits, matrix[which])
        if excluded is not None:
            bounded.masked_fill_(excluded[held], -torch.inf)
        mixed[which] = bounded
    return BoundedMixture(mixed, matrix, fractions)


def _excluded(asked: Tensor, reference: Tensor) -> Tensor | None:
    """The tokens that either policy excludes, shape (bounded, vocab); None where all is finite."""
    # Cheap on the CPU; on a device, where it would be a stall, the masks are cheap.
    if asked.device.type == "cpu" and (asked.sum() + reference.sum()).isfinite():
        return None
    return asked.isneginf() | reference.isneginf()


def _exact_device(device: torch.device) -> torch.device:
    """Where float64 can be computed; Apple's devices cannot."""
    return torch.device("cpu") if device.type == "mps" else device


def _largest_fractions(reference: Tensor, asked: Tensor, max_kl: Tensor) -> Tensor:
    """The largest fraction at which each row's divergence is within its bound, shape (rows,).

    It is looked for among the likely tokens first, which are few. From there one or two looks at
    the whole vocabulary are enough.
    """
    likely, likely_way = _likely(reference, asked)
    policy = likely.softmax(dim=-1)
    # A constant on the way changes no policy; without the mean, float32 keeps its digits.
    mean = (policy * likely_way).sum(dim=-1, keepdim=True)
    likely_way = likely_way - mean
    spread = (policy * likely_way.square()).sum(dim=-1)
    # For a small fraction t, KL(t) is t^2 / 2 times the variance at 0.
    guess = (2.0 * max_kl / spread.clamp_min(_TINY)).sqrt().clamp_max(1.0)
    guess = _search(likely, likely_way, max_kl, guess, _ROUGHLY)
    way = (asked - reference).sub_(mean.to(asked))
    if way.isnan().any():  # where both are -inf, or the row is no policy
        way = way.nan_to_num(nan=0.0)
    return _search(reference, way, max_kl, guess, _CLOSELY)


def _likely(reference: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
    """The likely tokens' logits at 0, padded with -inf, and their ways to 1; float64.

    They are those that are likely at one end, and there are enough of them for a first guess.
    """
    likely = (reference > reference.amax(dim=-1, keepdim=True) - _LIKELY) | (
        asked > asked.amax(dim=-1, keepdim=True) - _LIKELY
    )
    counts = likely.sum(dim=-1)
    rows, tokens = likely.nonzero(as_tuple=True)
    places = torch.arange(len(tokens), device=tokens.device) - (counts.cumsum(0) - counts)[rows]
    shape = (2, len(counts), max(1, int(counts.max())))
    padded = torch.full(shape, -torch.inf, dtype=reference.dtype, device=reference.device)
    padded[0, rows, places] = reference[rows, tokens]
    padded[1, rows, places] = asked[rows, tokens]
    logits, ends = padded.to(_exact_device(padded.device), torch.float64)
    return logits, (ends - logits).nan_to_num_(nan=0.0)


def _search(
    reference: Tensor, way: Tensor, max_kl: Tensor, guess: Tensor, tolerance: float
) -> Tensor:
    """Newton's method on the root of the divergence, which is nearly linear in the fraction.

    Args:
        reference: Logits at the fraction 0, shape (rows, tokens); -inf excludes a token.
        way: What is added to them from 0 to 1, same shape, finite.
        max_kl: The bounds, float64, shape (rows,).
        guess: Where to begin, above 0 and at most 1.
        tolerance: How near to its bound, as a share of it, a divergence has to be for the step
            from there to be the last one.

    Returns:
        The fractions, float64, shape (rows,).
    """
    total = reference.logsumexp(dim=-1).to(guess)
    wanted = max_kl.sqrt()
    low, high = torch.zeros_like(guess), torch.full_like(guess, 2.0)  # 1 has not been tried
    fraction, found = guess, torch.zeros_like(guess)
    done = max_kl == 0
    for step in range(1, _MOST_STEPS):
        divergence, slope = _divergence(reference, way, total, fraction)
        within = ~(divergence > max_kl)  # NaN too: such a row is no policy, and is told of later
        low = torch.where(within, fraction, low)
        high = torch.where(within, high, fraction)
        root = divergence.clamp_min(0.0).sqrt()
        newton = fraction - 2.0 * root * (root - wanted) / slope.clamp_min(_TINY)
        newton = newton.clamp_max(1.0)
        usable = (newton > low) & (newton < high)
        whole = within & (fraction >= 1.0)
        close = (divergence - max_kl).abs() <= tolerance * max_kl
        found = torch.where(done, found, torch.where(usable & ~whole, newton, low))
        done = done | whole | close | (high - low < _SAME)
        if bool(done.all()):
            break
        middle = (0.5 * (low + high)).clamp_max(1.0)
        # Now and then a halving, lest the steps be too short.
        fraction = torch.where(usable, newton, middle) if step % _HALVING else middle
    return found


def _divergence(
    reference: Tensor, way: Tensor, total: Tensor, fraction: Tensor
) -> tuple[Tensor, Tensor]:
    """KL(t) and its derivative by t, each float64 of shape (rows,).

    Args:
        reference: Logits at 0, shape (rows, tokens).
        way: What is added to them from 0 to 1, same shape.
        total: Their logsumexp, float64, shape (rows,).
        fraction: t, float64, shape (rows,).
    """
    logits = torch.addcmul(reference, way, fraction.to(way)[:, None])
    highest = logits.amax(dim=-1)
    odds = logits.sub_(highest[:, None]).clamp_min_(_UNLIKELY).exp_()
    sum_ = odds.sum(dim=-1).to(fraction)
    odds.mul_(way)
    mean = odds.sum(dim=-1).to(fraction) / sum_
    square = torch.linalg.vecdot(odds, way).to(fraction) / sum_
    normaliser = highest.to(fraction) + sum_.log() - total
    return fraction * mean - normaliser, fraction * (square - mean.square())
