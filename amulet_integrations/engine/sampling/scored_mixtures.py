"""The mixtures of contexts that a completion is scored under, with their bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from sys import float_info
from typing import Any, NamedTuple

import torch
from torch import Tensor

from amulet_integrations.decoding.divergence import DivergenceBounds
from amulet_integrations.decoding.guidance import check_max_kl, is_real_number
from amulet_integrations.decoding.mixture import mixing_matrix
from amulet_integrations.engine.request import GenerationRequest
from amulet_integrations.engine.structured.alternatives import Weights
from amulet_integrations.errors import InvalidRequestError

_LARGEST_WEIGHT = 1e6  # past it the rounding of log-probabilities amounts to whole nats
_DIRECTION_DIGITS = 9  # directions that agree to so many digits count as one


class ScoredMixture(NamedTuple):
    """A mixture of contexts.

    Attributes:
        weights: One weight for each context.
        max_kl: The bound on the divergence from `reference`, in nats; None for no bound.
        reference: The weights at guidance 1.
    """

    weights: Weights
    max_kl: float | None = None
    reference: Weights = ()


class SharedSearch(NamedTuple):
    """Bounded mixtures that lie in one direction from the same reference, within the same bound.

    A bounded policy lies on the line from the reference to its mixture. So one search, the one
    for the farthest mixture, shows how far each of them may go.

    Attributes:
        indices: Which mixtures they are, int64, shape (members,).
        distances: Their distances from the reference as shares of the largest, float64, shape
            (members,).
        farthest: The weights of the farthest one, shape (1, contexts).
        bounds: The bound.
    """

    indices: Tensor
    distances: Tensor
    farthest: Tensor
    bounds: DivergenceBounds

    def held_back(self, fraction: float) -> Tensor:
        """The mixtures that are held back where the farthest one may go this fraction.

        They all have the same policy, that of the farthest one at this fraction.
        """
        return self.indices[self.distances >= fraction]


def read_temperature(temperature: Any) -> float:
    """Checks a temperature that policies are divided by.

    Raises:
        InvalidRequestError: Not a finite number above 0, or so near to 0 that log-probabilities
            lose their digits.
    """
    if is_real_number(temperature) and 1.0 / _LARGEST_WEIGHT <= temperature <= float_info.max:
        return float(temperature)
    raise InvalidRequestError(
        f"temperature={temperature!r}: give a finite number above 0, of at least "
        f"{1.0 / _LARGEST_WEIGHT:g}; below it log-probabilities lose their digits."
    )


def read_mixtures(
    mixtures: Any,
    max_kl: Any = None,
    reference_weights: Any = None,
    *,
    contexts: int,
    temperature: float = 1.0,
) -> list[ScoredMixture] | None:
    """Checks mixtures; they may be nested sequences, arrays or tensors.

    Args:
        mixtures: Rows of weights, one weight for each context; None for no mixtures.
        max_kl: One bound for all mixtures, or a sequence of one for each; None for no bound.
        reference_weights: The mixture at guidance 1, or a sequence of one for each mixture; None
            for the second of two contexts.
        contexts: How many contexts there are.
        temperature: Divides what was mixed and bounded.

    Returns:
        The mixtures. Those that apply no preference, or are their own reference, have no bound.

    Raises:
        InvalidRequestError: No row, a row of another width, a weight that is not finite or is
            past a million in size, before or after the temperature divides it; bounds without
            mixtures, not one for each, negative or not finite; a mixture with a bound that does
            not add up to 1; a reference that is missing, does not fit the contexts, or has no
            bounds.
    """
    if max_kl is None and reference_weights is not None:
        raise InvalidRequestError(
            "reference_weights are given without max_kl, the bound that is measured from them."
        )
    if mixtures is None:
        if max_kl is not None:
            raise InvalidRequestError(
                f"max_kl={max_kl!r} is given without mixtures. The bound is one on mixtures: pass "
                "them, or leave it out to score each context."
            )
        return None
    weights = _read_rows(mixtures, contexts, _LARGEST_WEIGHT * min(1.0, temperature))
    bounds = _read_bounds(max_kl, len(weights))
    references = _one_reference_each(reference_weights, len(weights))
    return [
        _with_bound(index, *mixture)
        for index, mixture in enumerate(zip(weights, bounds, references, strict=True))
    ]


def _read_rows(mixtures: Any, contexts: int, largest: float) -> list[Weights]:
    rows = _as_list(mixtures)
    if not _is_row(rows) or not rows:
        raise InvalidRequestError(
            f"mixtures={mixtures!r}: give at least one row of weights, or None to score each "
            "context."
        )
    return [
        _read_row(f"mixtures[{index}]", _as_list(row), contexts, largest)
        for index, row in enumerate(rows)
    ]


def _read_row(name: str, row: Any, contexts: int, largest: float) -> Weights:
    if not _is_row(row):
        raise InvalidRequestError(f"{name}={row!r}: give a row of {contexts} weights.")
    if len(row) != contexts:
        raise InvalidRequestError(
            f"{name} has {len(row)} weights for {contexts} contexts; give one for each."
        )
    for weight in row:
        # Not math.isfinite, which fails for an integer that no float holds.
        if not (is_real_number(weight) and abs(weight) < math.inf):
            raise InvalidRequestError(
                f"{name} holds the weight {weight!r}; weights are finite numbers."
            )
        if abs(weight) > largest:
            raise InvalidRequestError(
                f"{name} holds a weight past {largest:,.0f} in size, where "
                "log-probabilities lose their digits. Use a weaker guidance scale or a higher "
                "temperature."
            )
    return tuple(map(float, row))


def _read_bounds(max_kl: Any, mixtures: int) -> list[float | None]:
    given = _as_list(max_kl)
    if not _is_row(given):
        return [check_max_kl(given, error_type=InvalidRequestError)] * mixtures
    if len(given) != mixtures:
        raise InvalidRequestError(
            f"{len(given)} bounds in max_kl for {mixtures} mixtures; pass one for each (None "
            "for no bound), or a single one for all."
        )
    return [
        check_max_kl(bound, f"max_kl[{index}]", InvalidRequestError)
        for index, bound in enumerate(given)
    ]


def _one_reference_each(reference_weights: Any, mixtures: int) -> list[Any]:
    given = _as_list(reference_weights)
    rows = [_as_list(row) for row in given] if _is_row(given) else []
    if not any(map(_is_row, rows)):
        return [given] * mixtures
    if len(rows) != mixtures:
        raise InvalidRequestError(
            f"{len(rows)} rows of reference_weights for {mixtures} mixtures; pass one for each, or "
            "a single one for all."
        )
    return rows


def _with_bound(index: int, weights: Weights, bound: float | None, reference: Any) -> ScoredMixture:
    """Refuses what a request with these weights and this bound is refused for."""
    if bound is None:
        return ScoredMixture(weights)
    contexts = [[0]] * len(weights)
    try:
        GenerationRequest(contexts=contexts, weights=weights)
    except InvalidRequestError as error:
        raise InvalidRequestError(
            f"mixtures[{index}] has a bound, max_kl={bound:g}, and {error} A temperature is an "
            "argument of its own."
        ) from None
    request = GenerationRequest(
        contexts=contexts, weights=weights, max_kl=bound, reference_weights=reference
    )
    measured_from = request.reference_weights or (0.0, 1.0)
    if weights == measured_from or not any(weights[1:]):
        return ScoredMixture(weights)
    return ScoredMixture(weights, bound, measured_from)


def _as_list(values: Any) -> Any:
    return values.tolist() if hasattr(values, "tolist") else values


def _is_row(values: Any) -> bool:
    return isinstance(values, Sequence) and not isinstance(values, str | bytes)


def shared_searches(
    mixtures: Sequence[ScoredMixture], device: torch.device | str
) -> list[SharedSearch]:
    """Groups the mixtures that have a bound by direction and bound.

    Args:
        mixtures: The mixtures.
        device: Where the logits will be.
    """
    groups: dict[Any, list[tuple[int, float]]] = {}
    for index, (weights, bound, reference) in enumerate(mixtures):
        if bound is None:
            continue
        steps = [end - start for end, start in zip(weights, reference, strict=True)]
        distance = max(map(abs, steps))
        direction = tuple(round(step / distance, _DIRECTION_DIGITS) for step in steps)
        # A context with a weight in the reference only excludes tokens where there is a bound.
        unused = tuple(weight == 0.0 for weight in weights)
        groups.setdefault((bound, reference, direction, unused), []).append((index, distance))
    searches = []
    for (bound, reference, *_), members in groups.items():
        farthest, longest = max(members, key=lambda member: member[1])
        indices, distances = zip(*members, strict=True)
        searches.append(
            SharedSearch(
                torch.tensor(indices),
                torch.tensor(distances, dtype=torch.float64) / longest,
                mixing_matrix([mixtures[farthest].weights], device),
                DivergenceBounds([reference], [bound], device),
            )
        )
    return searches
