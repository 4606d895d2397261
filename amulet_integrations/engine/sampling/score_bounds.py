"""Bounds on the mixtures that a completion is scored under."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from amulet_integrations.decoding.divergence import DivergenceBounds
from amulet_integrations.decoding.mixture import mixing_matrix
from amulet_integrations.engine.request import GenerationRequest, read_bound
from amulet_integrations.engine.structured.alternatives import Weights
from amulet_integrations.errors import InvalidRequestError

_DIGITS = 9  # of a direction: those that differ by less share a ray


class ScoreBounds(NamedTuple):
    """The bounds of a scoring's mixtures.

    Attributes:
        max_kl: For each mixture its bound in nats; None where it has none.
        references: For each the weights at guidance 1, from which its bound is measured.
    """

    max_kl: tuple[float | None, ...]
    references: tuple[Weights, ...]


class Ray(NamedTuple):
    """Mixtures of one bound that lie in one direction from the reference.

    A bounded policy lies on the straight way from the reference to its mixture, so one search
    tells how far all of them may go.

    Attributes:
        members: Which mixtures they are, int64, shape (members,).
        reaches: How far from the reference each is, the farthest at 1, float64, shape (members,).
        farthest: The weights of the farthest one, shape (1, contexts).
        bounds: Its bound.
    """

    members: Tensor
    reaches: Tensor
    farthest: Tensor
    bounds: DivergenceBounds

    def held(self, fraction: float) -> Tensor:
        """The mixtures whose policy is that of the farthest one, which went this fraction."""
        return self.members[self.reaches >= fraction]


def read_bounds(
    max_kl: Any, reference_weights: Any, mixtures: Sequence[Weights] | None, contexts: int
) -> ScoreBounds | None:
    """Checks the bounds of a scoring.

    Args:
        max_kl: One bound for all mixtures, or a sequence of one for each; None for none.
        reference_weights: The mixture at guidance 1, or a sequence of one for each mixture; None
            for the second of two contexts.
        mixtures: The mixtures, from `read_mixtures`.
        contexts: How many contexts there are.

    Returns:
        The bounds; None where no mixture has one.

    Raises:
        InvalidRequestError: Bounds without mixtures, not one for each, a bound that is negative
            or not finite, a mixture with a bound that does not add up to 1, or a reference that
            is missing, does not fit the contexts, or has no bounds.
    """
    if max_kl is None:
        if reference_weights is not None:
            raise InvalidRequestError(
                "reference_weights are given without max_kl, the bound that is measured from them."
            )
        return None
    if mixtures is None:
        raise InvalidRequestError(
            f"max_kl={max_kl!r} is given without mixtures. The bound is one on mixtures: pass "
            "them, or leave it out to score each context."
        )
    bounds = _bound_of_each(max_kl, len(mixtures))
    references = _reference_of_each(reference_weights, len(mixtures))
    rows = enumerate(zip(mixtures, bounds, references, strict=True))
    read = [
        _reference(index, weights, bound, reference) for index, (weights, bound, reference) in rows
    ]
    if contexts == 1 or all(bound is None for bound in bounds):
        return None
    return ScoreBounds(bounds, tuple(read))


def _bound_of_each(max_kl: Any, mixtures: int) -> tuple[float | None, ...]:
    given = _as_list(max_kl)
    if isinstance(given, list | tuple):
        if len(given) != mixtures:
            raise InvalidRequestError(
                f"{len(given)} bounds in max_kl for {mixtures} mixtures; pass one for each (None "
                "for no bound), or a single one for all."
            )
        return tuple(read_bound(f"max_kl[{index}]", bound) for index, bound in enumerate(given))
    return (read_bound("max_kl", given),) * mixtures


def _reference_of_each(reference_weights: Any, mixtures: int) -> list[Any]:
    given = _as_list(reference_weights)
    rows = list(map(_as_list, given)) if isinstance(given, list | tuple) else []
    if not any(isinstance(row, list | tuple) for row in rows):
        return [given] * mixtures
    if len(rows) != mixtures:
        raise InvalidRequestError(
            f"{len(rows)} rows of reference_weights for {mixtures} mixtures; pass one for each, or "
            "a single one for all."
        )
    return rows


def _as_list(given: Any) -> Any:
    return given.tolist() if hasattr(given, "tolist") else given


def _reference(index: int, weights: Weights, bound: float | None, given: Any) -> Weights:
    """The reference of a mixture; refuses what a request with these weights is refused for."""
    if bound is None:
        return weights
    one_each = [[0]] * len(weights)
    try:
        GenerationRequest(contexts=one_each, weights=weights)
    except InvalidRequestError as error:
        raise InvalidRequestError(
            f"mixtures[{index}] has a bound, max_kl={bound:g}, and {error} A temperature is an "
            "argument of its own."
        ) from None
    read = GenerationRequest(
        contexts=one_each, weights=weights, max_kl=bound, reference_weights=given
    )
    return read.reference_weights or (0.0, 1.0)


def rays_of(
    mixtures: Sequence[Weights], bounds: ScoreBounds, device: torch.device | str
) -> list[Ray]:
    """Puts the mixtures that have a bound together, those of one direction and one bound.

    The first context alone and the reference itself are never bounded, as in decoding.

    Args:
        mixtures: The mixtures.
        bounds: Their bounds.
        device: Where logits will be.
    """
    found: dict[Any, list[tuple[int, float]]] = {}
    for index, (weights, bound, reference) in enumerate(zip(mixtures, *bounds, strict=True)):
        if bound is None or weights == reference or not any(weights[1:]):
            continue
        way = [there - here for there, here in zip(weights, reference, strict=True)]
        length = max(map(abs, way))
        direction = tuple(round(step / length, _DIGITS) for step in way)
        # A context that only the reference counts excludes tokens by the bound alone.
        unused = tuple(weight == 0.0 for weight in weights)
        key = (bound, reference, direction, unused)
        found.setdefault(key, []).append((index, length))
    rays = []
    for (bound, reference, *_), members in found.items():
        farthest, longest = max(members, key=lambda member: member[1])
        which, lengths = zip(*members, strict=True)
        rays.append(
            Ray(
                torch.tensor(which),
                torch.tensor(lengths, dtype=torch.float64) / longest,
                mixing_matrix([mixtures[farthest]], device),
                DivergenceBounds([reference], [bound], device),
            )
        )
    return rays
