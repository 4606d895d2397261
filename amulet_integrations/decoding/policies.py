"""Amulet's policy in closed form, and the iterative game that ends at it.

Both compute the advantage ``log pi - log pi_base`` rather than ``log pi``. On it the update only
adds and scales, so errors stay proportional to the result however large the scale is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from amulet_integrations.errors import InvalidRequestError

from .divergence import fractions_within
from .guidance import AmuletParams, check_max_kl

Utility = Callable[[Tensor, Tensor, Tensor, int], Tensor]
"""f(log_pi_t, log_pi_1, log_pi_base, t) -> utility, all of shape (..., vocab); t counts from 1."""


class _Contexts(NamedTuple):
    """The two policies (..., vocab), each up to a constant, and the tokens that both allow."""

    log_base: Tensor
    advantage: Tensor
    allowed: Tensor

    @classmethod
    def of(cls, base_logits: Tensor, pref_logits: Tensor) -> _Contexts:
        if base_logits.shape != pref_logits.shape or base_logits.dim() == 0:
            raise InvalidRequestError(
                f"base_logits {tuple(base_logits.shape)} and pref_logits "
                f"{tuple(pref_logits.shape)} must have one shape (..., vocab)."
            )
        dtype = torch.promote_types(
            torch.float32, torch.promote_types(base_logits.dtype, pref_logits.dtype)
        )
        allowed = ~(torch.isneginf(base_logits) | torch.isneginf(pref_logits))
        if not allowed.any(dim=-1).all():
            raise InvalidRequestError(
                "No token is possible in both contexts: each one is -inf in one of them."
            )
        log_base = base_logits.to(dtype).masked_fill(~allowed, 0.0)
        log_pref = pref_logits.to(dtype).masked_fill(~allowed, 0.0)
        # A constant does not change a policy. Subtracting it at the token that gains most leaves
        # the advantages of likely tokens near 0, where floats are finest.
        gain = (log_pref - log_base).masked_fill(~allowed, -torch.inf)
        anchor = gain.argmax(dim=-1, keepdim=True)
        log_base = log_base - log_base.gather(-1, anchor)
        log_pref = log_pref - log_pref.gather(-1, anchor)
        return cls(log_base, log_pref - log_base, allowed)

    def policy(self, advantage: Tensor) -> Tensor:
        logits = (self.log_base + advantage).masked_fill(~self.allowed, -torch.inf)
        return torch.log_softmax(logits, dim=-1)


def amulet_policy(
    base_logits: Tensor,
    pref_logits: Tensor,
    params: AmuletParams,
    max_kl: float | None = None,
) -> Tensor:
    """The policy at which Amulet's game ends, in closed form.

    softmax(p log pi_1 + (1 - p) log pi_base), with p = ``params.guidance_scale``.

    Args:
        base_logits: Logits (or log-probabilities) of the base context, shape (..., vocab), any
            floating dtype. -inf excludes a token.
        pref_logits: The same of the pref context.
        params: The game's parameters.
        max_kl: A bound, in nats, on each policy's divergence from the pref policy: p moves
            towards 1 as far as needed (see `decoding.divergence`). None for no bound; p = 0, which
            applies no preference, is never bounded.

    Returns:
        Log-probabilities, shape (..., vocab), float32 or wider. A token that either context
        excludes is -inf.

    Raises:
        GuidanceScaleError: The game ends past what a float holds.
        InvalidParamsError: The bound is negative or not finite.
        InvalidRequestError: The shapes differ, or no token is left.
    """
    check_max_kl(max_kl)
    scale = params.guidance_scale
    contexts = _Contexts.of(base_logits, pref_logits)
    policy = contexts.policy(scale * contexts.advantage)
    if max_kl is None or scale == 0.0:
        return policy
    fractions = fractions_within(contexts.policy(contexts.advantage), policy, max_kl)
    bounded = contexts.policy((1.0 + fractions * (scale - 1.0)) * contexts.advantage)
    return torch.where(fractions < 1.0, bounded, policy)


def ftrl_policy(
    base_logits: Tensor,
    pref_logits: Tensor,
    params: AmuletParams,
    utility: Utility | None = None,
) -> Tensor:
    """Plays Amulet's game update by update (eq. 7 of arXiv 2502.19148).

    pi_{t+1} ∝ exp((eta * sum_{i<=t} u_i + lambda*eta*t * log pi_1 + log pi_t) / (t*lambda*eta + 1))

    With the default utility it ends at `amulet_policy`, at `iterations` times the cost. A utility
    of your own has no closed form.

    Args:
        base_logits: Logits of the base context, shape (..., vocab); -inf excludes a token.
        pref_logits: The same of the pref context.
        params: The game's parameters; `alpha` is only used by the default utility.
        utility: Called as f(log_pi_t, log_pi_1, log_pi_base, t), each tensor normalised and of
            shape (..., vocab), t from 1; returns the utility of each token, same shape. None is
            alpha * (log pi_t - log pi_base). Values at excluded tokens are ignored.

    Returns:
        Log-probabilities, shape (..., vocab), float32 or wider.

    Raises:
        InvalidRequestError: The shapes differ, no token is left, or the utility's shape is wrong.
    """
    contexts = _Contexts.of(base_logits, pref_logits)
    utility_of = None if utility is None else _custom_utility(contexts, utility)
    start = advantage = contexts.advantage
    total = torch.zeros_like(start)
    for step in range(1, params.iterations + 1):
        total = total + (utility_of(advantage, step) if utility_of else params.alpha * advantage)
        pull = params.lambda_ * params.eta * step
        advantage = (params.eta * total + pull * start + advantage) / (pull + 1.0)
    return contexts.policy(advantage)


def _custom_utility(contexts: _Contexts, utility: Utility) -> Callable[[Tensor, int], Tensor]:
    log_base = contexts.policy(torch.zeros_like(contexts.advantage))
    log_pref = contexts.policy(contexts.advantage)

    def of(advantage: Tensor, step: int) -> Tensor:
        value = utility(contexts.policy(advantage), log_pref, log_base, step)
        if value.shape != advantage.shape:
            raise InvalidRequestError(
                f"The utility returned shape {tuple(value.shape)} for policies of shape "
                f"{tuple(advantage.shape)}; it must give one value for each token."
            )
        return value.to(advantage.dtype).masked_fill(~contexts.allowed, 0.0)

    return of
