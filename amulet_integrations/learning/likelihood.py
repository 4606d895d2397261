"""How likely answers are under policies that mix their contexts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from amulet_integrations.engine import Engine
from amulet_integrations.errors import AmuletError, EvidenceError
from amulet_integrations.learning.policies import Policy, base_policy
from amulet_integrations.learning.tokens import Answer

Floats: TypeAlias = NDArray[np.float64]


def log_likelihoods(
    engine: Engine,
    answer: Answer,
    policies: Sequence[Policy],
    slips: Sequence[float],
    temperature: float,
) -> Floats:
    """The log-likelihood of an answer under each policy; the contexts are read once.

    Args:
        engine: What scores.
        answer: The answer and its contexts.
        policies: Mixtures of these contexts.
        slips: Probabilities with which a token is written by the base alone.
        temperature: The temperature of all of them, the base included.

    Returns:
        In nats, for each slip, shape (slips, policies), float64.

    Raises:
        EvidenceError: Some policy excludes a token of the answer, or the model gives NaN.
        AmuletError: The engine's own error, with the example's number.
    """
    mixtures, references, bounds = zip(base_policy(len(answer.contexts)), *policies, strict=True)
    try:
        scores = engine.score(
            answer.contexts,
            answer.ids,
            mixtures,
            max_kl=bounds,
            reference_weights=references,
            temperature=temperature,
        )
    except AmuletError as error:
        raise type(error)(f"{answer.place}: {error}") from error
    # In float64: hundreds of tokens are added up, and fractions of a nat count.
    by_base, *by_mixture = scores.numpy().astype(np.float64)
    totals: Floats = np.array(
        [_with_slips(np.array(by_mixture), by_base, slip).sum(axis=1) for slip in slips]
    )
    if not np.isfinite(totals).all():
        raise EvidenceError(
            f"{answer.place}: its log-likelihood is not finite under some of "
            f"{len(policies)} policies, as if the model excluded one of its tokens. Leave it out."
        )
    return totals


def _with_slips(by_mixture: Floats, by_base: Floats, slip: float) -> Floats:
    """Log-probabilities (mixtures, tokens) where the base (tokens,) writes some of the tokens."""
    if slip == 0.0:
        return by_mixture
    mixed: Floats = np.logaddexp(np.log1p(-slip) + by_mixture, np.log(slip) + by_base)
    return mixed
