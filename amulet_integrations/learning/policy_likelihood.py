"""How likely answers are under policies that mix the contexts of a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from amulet_integrations.decoding import preference_weights
from amulet_integrations.decoding.strength import MaxKL, Strength
from amulet_integrations.engine import Engine
from amulet_integrations.engine.structured.alternatives import Weights
from amulet_integrations.errors import AmuletError, EvidenceError

from .tokenized_answers import TokenizedAnswer

Floats: TypeAlias = NDArray[np.float64]

_CLOSE_TO_BASE = 1e-6  # a guidance scale


class Policy(NamedTuple):
    """A mixture of contexts, with the bound it is decoded under.

    Attributes:
        weights: The weights of the contexts, base first.
        reference: The weights at guidance 1, from which the bound is measured.
        max_kl: The bound in nats; None for none.
    """

    weights: Weights
    reference: Weights
    max_kl: float | None


def policies_at(
    scales: Sequence[float], own_weights: Sequence[float], max_kl: MaxKL
) -> list[Policy]:
    """The policies of some preferences at several guidance scales.

    Args:
        scales: The guidance scales.
        own_weights: The weights of the preference contexts.
        max_kl: The bound, as in `Strength`: the default one holds only outside of 0 to 1. Another
            one restricts weak guidance too, but not the base alone. So likelihoods would jump at
            scale 0, and the limit of the policies towards 0 stands there instead of the base.
    """
    policies = []
    for scale in scales:
        bound = Strength(guidance_scale=scale, max_kl=max_kl).settled().max_kl
        at = _CLOSE_TO_BASE if scale == 0.0 and bound is not None else scale
        weights, reference = (preference_weights(p, own_weights) for p in (at, 1.0))
        policies.append(Policy(weights, reference, bound))
    return policies


def log_likelihoods(
    engine: Engine,
    answer: TokenizedAnswer,
    policies: Sequence[Policy],
    slips: Sequence[float],
    temperature: float,
) -> Floats:
    """The log-likelihood of an answer under the base alone and under each policy.

    The contexts are computed once.

    Args:
        engine: Scores the answer.
        answer: The answer and its contexts.
        policies: Mixtures of these contexts.
        slips: Probabilities with which a token is written by the base alone.
        temperature: The temperature of all policies, the base included.

    Returns:
        In nats, for each slip, the base first, shape (slips, 1 + policies), float64.

    Raises:
        EvidenceError: Some policy excludes a token of the answer, or the model gives NaN.
        AmuletError: The engine's own error, with the example's number.
    """
    base = (1.0, *[0.0] * (len(answer.contexts) - 1))
    weights, references, bounds = zip(Policy(base, base, None), *policies, strict=True)
    try:
        scores = engine.score(
            answer.contexts,
            answer.ids,
            weights,
            max_kl=bounds,
            reference_weights=references,
            temperature=temperature,
        )
    except AmuletError as error:
        raise type(error)(f"{answer.place}: {error}") from error
    # In float64: hundreds of tokens are added up, and fractions of a nat count.
    by_policy = scores.numpy().astype(np.float64)
    totals: Floats = np.array(
        [_with_slips(by_policy, by_policy[0], slip).sum(axis=1) for slip in slips]
    )
    if not np.isfinite(totals).all():
        raise EvidenceError(
            f"{answer.place}: its log-likelihood is not finite under some of "
            f"{len(policies)} policies, as if the model excluded one of its tokens. Leave it out."
        )
    return totals


def _with_slips(by_policy: Floats, by_base: Floats, slip: float) -> Floats:
    """Log-probabilities (policies, tokens) where the base (tokens,) writes some of the tokens."""
    if slip == 0.0:
        return by_policy
    mixed: Floats = np.logaddexp(np.log1p(-slip) + by_policy, np.log(slip) + by_base)
    return mixed
