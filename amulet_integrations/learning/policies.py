"""The policies that answers are scored under: mixtures, each with the bound it is decoded with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from amulet_integrations.decoding import preference_weights
from amulet_integrations.decoding.strength import MaxKL, Strength
from amulet_integrations.engine.structured.alternatives import Weights

_NEXT_TO_BASE = 1e-6  # a guidance scale


class Policy(NamedTuple):
    """One mixture of contexts.

    Attributes:
        weights: Of the contexts, base first.
        reference: The weights at guidance 1, from which the bound is measured.
        max_kl: The bound in nats; None for none.
    """

    weights: Weights
    reference: Weights
    max_kl: float | None

    def among(self, place: int, preferences: int) -> Policy:
        """The same for one preference of several, which have a context each."""

        def put(weights: Weights) -> Weights:
            base, own = weights
            rest = preferences - place - 1
            return (base, *(0.0,) * place, own, *(0.0,) * rest)

        return self._replace(weights=put(self.weights), reference=put(self.reference))


def base_policy(contexts: int) -> Policy:
    """The first of some contexts alone."""
    base = (1.0, *(0.0,) * (contexts - 1))
    return Policy(base, base, None)


def policies_at(
    scales: Sequence[float], own_weights: Sequence[float], max_kl: MaxKL
) -> list[Policy]:
    """The policies of some preferences at several guidance scales.

    Args:
        scales: The guidance scales.
        own_weights: The weights of the preference contexts.
        max_kl: The bound, as `Strength` has it: the default one holds outside of 0 to 1 only.
            Another one holds weak guidance back as well, but not the base alone, so that one is no
            neighbour of the others. In its place stands their limit, lest curves jump there.
    """
    policies = []
    for scale in scales:
        bound = Strength(guidance_scale=scale, max_kl=max_kl).settled().max_kl
        at = _NEXT_TO_BASE if scale == 0.0 and bound is not None else scale
        weights, reference = (preference_weights(it, own_weights) for it in (at, 1.0))
        policies.append(Policy(weights, reference, bound))
    return policies
