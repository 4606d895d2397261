"""The frontier: what each strength and bound of Amulet gains beside `pref`, and what it costs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from amulet_integrations.decoding.strength import Preset
from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation.data.methods import points_of, reference_of, strength_of
from amulet_integrations.evaluation.data.record_types import (
    BOUNDED_TOKENS,
    Answer,
    Method,
    by_method,
)
from amulet_integrations.evaluation.metrics.builtin_scores import (
    BROKEN,
    DISTINCT_2,
    PREF_NLL,
    PREFERENCE_RATIO,
    RELEVANCE,
)

from .comparisons import mean_difference, mean_of
from .statistics import Estimate

DEFAULT_ALLOWANCE = 0.1
"""How far `pref_nll` may rise, in nats per token."""

RELEVANCE_ALLOWANCE = 0.05
"""How far the cosine of question and answer may fall."""

REPETITION_ALLOWANCE = 0.03
"""How far the share of repeated pairs of words may rise."""

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Point:
    """A method at one guidance scale and one bound. Differences are to the reference's answers.

    Attributes:
        method: The name of the method.
        strength: Its guidance scale and its bound.
        gain: The rise of the preference ratio, in nats per token.
        cost: The rise of `pref_nll`, in nats per token.
        relevance: The rise of the relevance; None if it was not measured.
        repeated: The rise of the share of repeated pairs of words; None if it was not measured.
        broken: The number of broken answers.
        held_back: The share of tokens at which the bound held guidance back; None without a bound.
    """

    method: str
    strength: Preset
    gain: Estimate
    cost: Estimate
    relevance: Estimate | None
    repeated: float | None
    broken: int
    held_back: Estimate | None


class Limit(NamedTuple):
    """How much worse than the reference a point is in one respect.

    Attributes:
        what: The respect.
        found: How much worse the point is.
        allowed: How much worse it may be.
        unit: What one unit of excess is, so that excesses in several respects can be added.
    """

    what: str
    found: float
    allowed: float
    unit: float

    @property
    def miss(self) -> float:
        """The excess over what is allowed, in units; 0 if the limit is kept."""
        excess = self.found - self.allowed
        return excess / self.unit if excess > _ROUNDING else 0.0


@dataclass(frozen=True)
class Frontier:
    """The points of a run, measured on the questions and preferences that all of them answered.

    Attributes:
        preference: The name of the preference; None for all of them.
        reference: The method of the kind "pref".
        points: Amulet's points, by rising guidance scale, and for equal scales by rising bound.
        allowance: How far `pref_nll` may rise, in nats per token.
    """

    preference: str | None
    reference: Point
    points: tuple[Point, ...]
    allowance: float

    def limits(self, point: Point) -> list[Limit]:
        """Returns the limits that a point must keep, as far as they were measured."""
        broken = point.broken - self.reference.broken
        fall = None if point.relevance is None else -point.relevance.mean
        limits = (
            ("pref NLL", point.cost.mean, self.allowance, self.allowance or DEFAULT_ALLOWANCE),
            ("relevance", fall, RELEVANCE_ALLOWANCE, RELEVANCE_ALLOWANCE),
            ("repeated pairs", point.repeated, REPETITION_ALLOWANCE, REPETITION_ALLOWANCE),
            ("broken answers", broken, 0, max(1, self.reference.broken)),
        )
        return [Limit(what, found, *rest) for what, found, *rest in limits if found is not None]

    def missed(self, point: Point) -> list[Limit]:
        """Returns the limits that a point exceeds."""
        return [limit for limit in self.limits(point) if limit.miss]

    def breaks(self, point: Point) -> bool:
        """Whether a point has more broken answers than the reference."""
        return point.broken > self.reference.broken

    @property
    def recommended(self) -> Point | None:
        """The point with the largest gain among those that keep all limits.

        If no point keeps them, it is the point that gains and exceeds them least: with the least
        sum of `Limit.miss`. None if no such point has a larger ratio than the reference.
        """
        keeping = [point for point in self.points if not self.missed(point)]
        if keeping:
            best = max(keeping, key=lambda point: (point.gain.mean, -point.cost.mean))
            return best if best.gain.mean > 0 else None

        def total_miss(point: Point) -> tuple[float, float]:
            return sum(limit.miss for limit in self.limits(point)), -point.gain.mean

        gaining = [point for point in self.points if point.gain.mean > 0]
        return min(gaining, key=total_miss, default=None)

    @property
    def optimal(self) -> tuple[Point, ...]:
        """The Pareto-optimal points, the reference among them, by rising cost.

        No other point gains as much at less cost, or more at the same cost.
        """
        optimal: list[Point] = []
        for point in sorted(
            (self.reference, *self.points), key=lambda p: (p.cost.mean, -p.gain.mean)
        ):
            if not optimal or point.gain.mean > optimal[-1].gain.mean:
                optimal.append(point)
        return tuple(optimal)


def check_allowance(allowance: float) -> None:
    """Refuses what cannot be an allowance.

    Raises:
        EvaluationError: It is negative, or not a number.
    """
    if not allowance >= 0:
        raise EvaluationError(
            f"allowance={allowance}: it is by how much -log P(answer | preference) may rise, in "
            "nats per token, so it is 0 or more."
        )


def find_frontier(
    answers: Iterable[Answer],
    methods: Iterable[Method],
    *,
    preference: str | None = None,
    allowance: float = DEFAULT_ALLOWANCE,
) -> Frontier | None:
    """Measures gain and cost on the questions and preferences that every point answered.

    Args:
        answers: The answers of a run.
        methods: The methods of the run. The first of the kind "pref" and those of `points_of` are
            compared, as far as they have answers.
        preference: Only the answers to this preference are compared; None takes all.
        allowance: How far `pref_nll` may rise, in nats per token.

    Returns:
        The frontier; None unless `pref` and at least two points of Amulet have answers with tokens
        in common.

    Raises:
        EvaluationError: The allowance is negative, or not a number.
    """
    check_allowance(allowance)
    measured = by_method(
        it for it in answers if BROKEN in it.scores and preference in {None, it.preference}
    )
    methods = [method for method in methods if method.name in measured]
    pref, points = reference_of(methods), points_of(methods)
    if pref is None or not points:
        return None
    compared = [pref, *points]
    common = set.intersection(*({it.prompt_key for it in measured[one.name]} for one in compared))
    chosen = {
        one.name: [it for it in measured[one.name] if it.prompt_key in common] for one in compared
    }
    reference, *others = (_point(one, chosen[one.name], chosen[pref.name]) for one in compared)
    found = tuple(point for point in others if point is not None)
    if reference is None or len(found) < 2:  # noqa: PLR2004 - a single point leaves no choice
        return None
    return Frontier(preference, reference, found, allowance)


def _point(method: Method, answers: Sequence[Answer], reference: Sequence[Answer]) -> Point | None:
    """Measures a point; None if none of its answers has tokens where the reference's has some."""
    gain = mean_difference(answers, reference, PREFERENCE_RATIO)
    cost = mean_difference(answers, reference, PREF_NLL)
    strength = strength_of(method)
    if gain is None or cost is None or strength is None:
        return None
    distinct = mean_difference(answers, reference, DISTINCT_2)
    return Point(
        method=method.name,
        strength=strength,
        gain=gain,
        cost=cost,
        relevance=mean_difference(answers, reference, RELEVANCE),
        repeated=None if distinct is None else -distinct.mean,
        broken=int(sum(answer.scores[BROKEN] for answer in answers)),
        held_back=mean_of(answers, BOUNDED_TOKENS),
    )
