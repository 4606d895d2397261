"""A bound on how far guidance may take a policy from the pref policy, token by token.

Guidance extrapolates: at strength p the policy is pi_p ∝ pi_pref (pi_pref / pi_base)^(p-1). Where
the two contexts differ by many nats, it picks tokens that neither of them finds plausible. The
bound is the constrained form of Amulet's own objective: of all policies within `max_kl` nats of
pi_pref, the one with the largest expected advantage E[log pi_pref - log pi_base]. It is a policy of
the same family, softmax(z_1 + t (z_p - z_1)) with a fraction t from 0 to 1, where z_1 and z_p are
the logits at guidance 1 and at p. Its divergence from pi_pref,

    KL(t) = t E_t[z_p - z_1] - log E_1[exp(t (z_p - z_1))],      dKL/dt = t Var_t[z_p - z_1] >= 0,

grows with t, so a single number is searched for each request (`decoding.fractions`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .fractions import Floats, largest_fractions
from .mixture import mix_contexts, mixing_matrix

_EXCLUDED = -1e6  # nats, in place of -inf
_BLOCK_ROWS = 16  # policies bounded together; what is computed of them fits a processor's cache


class DivergenceBounds:
    """The bounds of a batch of requests.

    Args:
        reference: For each request, the weights of its contexts at guidance 1. The divergence is
            measured from this mixture.
        max_kl: For each request its bound in nats, at least 0; None for no bound.
        device: The device of the logits.

    Attributes:
        requests: The indices of the requests that have a bound.
        reference: Their rows of the mixing matrix at guidance 1, shape (bounded, rows).
        max_kl: Their bounds, float64, shape (bounded,).
    """

    def __init__(
        self,
        reference: Sequence[Sequence[float]],
        max_kl: Sequence[float | None],
        device: torch.device | str = "cpu",
    ) -> None:
        self.requests: list[int] = [
            index for index, bound in enumerate(max_kl) if bound is not None
        ]
        self.reference: Tensor = mixing_matrix(reference, device)[self.requests]
        self.max_kl = np.array([bound for bound in max_kl if bound is not None], dtype=np.float64)

    def __bool__(self) -> bool:
        return len(self.requests) > 0


class BoundedMixture(NamedTuple):
    """The policies of a batch of requests.

    Attributes:
        logits: The logits of every request's policy, shape (requests, vocab), float32.
        matrix: The weights that make them, shape (requests, rows).
        fractions: The fraction of the way from guidance 1 to its own weights that each request
            went, shape (requests,), float64, on the CPU; 1 where nothing held it back.
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
    a request's contexts is excluded, and both policies are taken over the other tokens.

    Args:
        logits: Logits of every context, shape (rows, vocab), any floating dtype.
        matrix: The wanted weights, shape (requests, rows), from `mixing_matrix`.
        bounds: The bounds of these requests; None for no bounds.

    Returns:
        The policies and what they are made of. A request whose contexts hold NaN or +inf has a
        row of NaN, as in `mix_contexts`.
    """
    mixed = mix_contexts(logits, matrix)
    fractions = torch.ones(len(matrix), dtype=torch.float64)
    if not bounds:
        return BoundedMixture(mixed, matrix, fractions)
    mixed, logits = mixed.detach(), logits.detach()  # a fraction has no gradient
    for block in _blocks(len(bounds.requests)):
        requests = bounds.requests[block]
        reference = mix_contexts(logits, bounds.reference[block])
        found = _hold_back(mixed, requests, reference, bounds.max_kl[block])
        fractions[requests] = torch.from_numpy(found)
    start, part = bounds.reference, fractions[bounds.requests, None].to(matrix.dtype)
    matrix = matrix.clone()
    matrix[bounds.requests] = torch.lerp(start, matrix[bounds.requests], part.to(start.device))
    return BoundedMixture(mixed, matrix, fractions)


def fractions_within(reference: Tensor, wanted: Tensor, max_kl: float) -> Tensor:
    """The largest fraction of the way from one policy to another that a bound allows.

    Args:
        reference: Log-probabilities from which the divergence is measured, shape (..., vocab).
        wanted: Log-probabilities of the other policy, same shape, -inf at the same tokens.
        max_kl: The bound in nats.

    Returns:
        The fractions, shape (..., 1), of the dtype of `wanted`.
    """
    vocab = wanted.shape[-1]
    start, end = reference.detach().reshape(-1, vocab), wanted.detach().reshape(-1, vocab)
    found = [
        largest_fractions(
            *_finite(start[block], end[block]), np.full(len(start[block]), max_kl, dtype=np.float64)
        )
        for block in _blocks(len(start))
    ]
    fractions = torch.from_numpy(np.concatenate(found)).to(wanted.dtype)
    return fractions.to(wanted.device).view(*wanted.shape[:-1], 1)


def _blocks(rows: int) -> list[slice]:
    return [slice(first, first + _BLOCK_ROWS) for first in range(0, rows, _BLOCK_ROWS)]


def _finite(start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities in float32, with a number in place of -inf."""
    return (
        start.float().masked_fill(start.isneginf(), _EXCLUDED),
        end.float().masked_fill(end.isneginf(), _EXCLUDED),
    )


def _hold_back(mixed: Tensor, requests: list[int], reference: Tensor, max_kl: Floats) -> Floats:
    """Brings policies within their bounds, in place.

    Args:
        mixed: The logits of all requests, shape (requests, vocab).
        requests: The indices of the requests that are bounded here.
        reference: Their logits at guidance 1, shape (bounded, vocab).
        max_kl: Their bounds, shape (bounded,).

    Returns:
        Their fractions, shape (bounded,).
    """
    wanted = mixed[requests] if len(requests) > 1 else mixed[requests[0]][None]
    start, end = reference.log_softmax(dim=-1), wanted.log_softmax(dim=-1)
    excluded = None
    if not bool((start.sum() + end.sum()).isfinite()):
        excluded = wanted.isneginf() | reference.isneginf()
        wanted = wanted.masked_fill(excluded, -torch.inf)
        mixed[requests] = wanted
        reference = reference.masked_fill(excluded, -torch.inf)
        start, end = _finite(reference.log_softmax(dim=-1), wanted.log_softmax(dim=-1))
    found = largest_fractions(start, end, max_kl)
    for row, (request, fraction) in enumerate(zip(requests, found.tolist(), strict=True)):
        if fraction < 1.0:
            policy = mixed[request]
            torch.lerp(reference[row], policy, fraction, out=policy)
            if excluded is not None:
                policy.masked_fill_(excluded[row], -torch.inf)
    return found
