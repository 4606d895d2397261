"""What guidance gains and what it costs: strengths and bounds of Amulet beside `pref`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from amulet_integrations.decoding.strength import Preset
from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation.analysis.comparisons import mean_difference, mean_of
from amulet_integrations.evaluation.analysis.statistics import Estimate
from amulet_integrations.evaluation.metrics.likelihoods import BROKEN, PREF_NLL, PREFERENCE_RATIO
from amulet_integrations.evaluation.metrics.relevance import RELEVANCE
from amulet_integrations.evaluation.metrics.text_scores import DISTINCT_2
from amulet_integrations.evaluation.runs.methods import strength_of
from amulet_integrations.evaluation.runs.records import BOUNDED_TOKENS, Answer, Method, by_method

DEFAULT_ALLOWANCE = 0.1
"""Nats per token by which `pref_nll` may rise."""

RELEVANCE_ALLOWANCE = 0.05
"""By how much the cosine of question and answer may fall."""

REPETITION_ALLOWANCE = 0.03
"""By how much the share of pairs of words that an answer holds already may rise."""

_ROUNDING = 1e-9
_DIGITS = 6  # of a guidance scale, past which two are one


@dataclass(frozen=True)
class Point:
    """A method at one guidance scale, under one bound. Differences are to the reference's answers.

    Attributes:
        method: The method's name.
        strength: Its guidance scale and its bound.
        ratio: The preference ratio per token.
        gain: How far that is above the reference's.
        cost: How far `pref_nll` is above the reference's, in nats per token.
        relevance: How far the relevance is above the reference's; None where it was not measured.
        repeated: How far the share of repeated pairs of words is above the reference's; None
            where it was not measured.
        broken: How many answers are broken.
        held_back: The share of tokens at which the bound held guidance back; None without one.
    """

    method: str
    strength: Preset
    ratio: Estimate
    gain: Estimate
    cost: Estimate
    relevance: Estimate | None
    repeated: float | None
    broken: int
    held_back: Estimate | None


class Limit(NamedTuple):
    """How far something may be past the reference.

    Attributes:
        what: What it is.
        found: How far it is, worse being more.
        allowed: How far it may be.
        unit: What a miss is told in, so that misses of unlike things can be added up.
    """

    what: str
    found: float
    allowed: float
    unit: float

    @property
    def miss(self) -> float:
        """How far past what is allowed, in units; 0 where it is kept."""
        past = self.found - self.allowed
        return past / self.unit if past > _ROUNDING else 0.0


@dataclass(frozen=True)
class Frontier:
    """The points of a run, on the cases that all of them answered.

    Attributes:
        preference: The preference's name; None for all of them.
        reference: The method of the kind "pref".
        points: Amulet's, the weakest guidance first, and of one scale the tightest bound.
        allowance: By how much `pref_nll` may rise, in nats per token.
    """

    preference: str | None
    reference: Point
    points: tuple[Point, ...]
    allowance: float

    def limits(self, point: Point) -> list[Limit]:
        """What a point has to keep to be recommended, as far as it was measured."""
        broken = point.broken - self.reference.broken
        found = [
            Limit("pref NLL", point.cost.mean, self.allowance, self.allowance or DEFAULT_ALLOWANCE)
        ]
        if point.relevance is not None:
            allowed = RELEVANCE_ALLOWANCE
            found.append(Limit("relevance", -point.relevance.mean, allowed, allowed))
        if point.repeated is not None:
            allowed = REPETITION_ALLOWANCE
            found.append(Limit("repeated pairs", point.repeated, allowed, allowed))
        found.append(Limit("broken answers", broken, 0, max(1, self.reference.broken)))
        return found

    def missed(self, point: Point) -> list[Limit]:
        """The limits that a point does not keep."""
        return [limit for limit in self.limits(point) if limit.miss]

    def breaks(self, point: Point) -> bool:
        """Whether more answers of a point are broken than of the reference."""
        return point.broken > self.reference.broken

    @property
    def recommended(self) -> Point | None:
        """The point with the largest gain among those that keep all limits.

        Where none keeps them, it is, of those that gain, the one that misses least: the least sum
        of misses, each as a share of what is allowed. None where no point that could be
        recommended has a larger ratio than the reference.
        """
        keeping = [point for point in self.points if not self.missed(point)]
        if keeping:
            best = max(keeping, key=lambda point: (point.gain.mean, -point.cost.mean))
            return best if best.gain.mean > 0 else None

        def misses(point: Point) -> tuple[float, float]:
            return sum(limit.miss for limit in self.limits(point)), -point.gain.mean

        gaining = [point for point in self.points if point.gain.mean > 0]
        return min(gaining, key=misses, default=None)

    @property
    def optimal(self) -> tuple[Point, ...]:
        """The Pareto-optimal points, the reference among them, cheapest first.

        No other point gains as much for less, or more for as little.
        """
        found: list[Point] = []
        ordered = sorted((self.reference, *self.points), key=lambda p: (p.cost.mean, -p.gain.mean))
        for point in ordered:
            if not found or point.gain.mean > found[-1].gain.mean:
                found.append(point)
        return tuple(found)


def check_allowance(allowance: float) -> None:
    """Refuses an allowance that is none.

    Raises:
        EvaluationError: It is negative, or no number.
    """
    if not allowance >= 0:
        raise EvaluationError(
            f"allowance={allowance}: it is by how much -log P(answer | preference) may rise, in "
            "nats per token, so it is 0 or more."
        )


def reference_of(methods: Iterable[Method]) -> Method | None:
    """What points and differences are seen beside: the first method of the kind "pref"."""
    return next((method for method in methods if method.kind == "pref"), None)


def points_of(methods: Iterable[Method]) -> tuple[Method, ...]:
    """The methods that make a frontier: Amulet's, each guidance scale with each bound once.

    Returns:
        They, in the order of `Frontier.points`; also one alone.
    """
    found: dict[tuple[float, float], Method] = {}
    for method in methods:
        strength = strength_of(method)
        if method.kind == "amulet" and strength is not None:
            found.setdefault(place_of(strength), method)
    return tuple(found[place] for place in sorted(found))


def place_of(strength: Preset) -> tuple[float, float]:
    """Where a strength stands among others; equal for those that are one."""
    scale, bound = strength
    return round(scale, _DIGITS), math.inf if bound is None else bound


def has_frontier(answers: Sequence[Answer], methods: Iterable[Method]) -> bool:
    """Whether `pref` and two points of Amulet, or more, answered some case in common.

    An answer without tokens says nothing of what was gained, so it is not enough.
    """
    measured, reference, points = _compared(answers, methods)
    if reference is None or len(points) < 2:  # noqa: PLR2004 - one leaves nothing to choose
        return False
    common = _common(measured, [reference, *points])

    def told(method: Method) -> set[tuple[str, int, str]]:
        return {a.case for a in measured[method.name] if PREFERENCE_RATIO in a.scores} & common

    return sum(bool(told(reference) & told(point)) for point in points) > 1


def frontier(
    answers: Sequence[Answer],
    methods: Iterable[Method],
    *,
    preference: str | None = None,
    allowance: float = DEFAULT_ALLOWANCE,
) -> Frontier:
    """Measures what guidance gains and costs, on the cases that every point answered.

    Args:
        answers: The answers of a run.
        methods: Its methods. The first of the kind "pref" and those of `points_of` count; others
            are left out, and so are those without an answer that has tokens.
        preference: Only answers to this preference; None takes all.
        allowance: By how many nats per token `pref_nll` may rise.

    Raises:
        EvaluationError: The allowance is negative; `pref` or Amulet is missing, or they have no
            case in common.
    """
    check_allowance(allowance)
    asked = [answer for answer in answers if preference in {None, answer.preference}]
    measured, pref, points = _compared(asked, methods)
    if pref is None or not points:
        raise EvaluationError(
            "The frontier needs answers of the method pref and of Amulet at some strengths, each "
            f"with {PREFERENCE_RATIO} and {PREF_NLL}. Run them with the methods pref, "
            "amulet@p=2,kl=0.2, amulet@p=3,kl=0.1 and so on."
        )
    compared = [pref, *points]
    common = _common(measured, compared)
    if not common:
        raise EvaluationError(
            f"No question was answered by all of {', '.join(one.name for one in compared)}. Let "
            "the run go on to its end first."
        )
    held = {
        one.name: [answer for answer in measured[one.name] if answer.case in common]
        for one in compared
    }
    made = [_point(method, held[method.name], held[pref.name]) for method in compared]
    reference, *others = made
    if reference is None:
        raise EvaluationError(f"No answer of {pref.name!r} has a token. Is that the right model?")
    return Frontier(preference, reference, tuple(it for it in others if it is not None), allowance)


def _compared(
    answers: Iterable[Answer], methods: Iterable[Method]
) -> tuple[dict[str, list[Answer]], Method | None, tuple[Method, ...]]:
    """The answers that were measured, by method; `pref`, and Amulet's points among them."""
    measured = by_method(answer for answer in answers if BROKEN in answer.scores)
    there = [method for method in methods if method.name in measured]
    return measured, reference_of(there), points_of(there)


def _common(
    measured: Mapping[str, Sequence[Answer]], methods: Iterable[Method]
) -> set[tuple[str, int, str]]:
    return set.intersection(*({a.case for a in measured[method.name]} for method in methods))


def _point(method: Method, answers: Sequence[Answer], reference: Sequence[Answer]) -> Point | None:
    """A method's point; None where none of its answers has a token that the reference's have."""
    ratio = mean_of(answers, PREFERENCE_RATIO)
    gain = mean_difference(answers, reference, PREFERENCE_RATIO)
    cost = mean_difference(answers, reference, PREF_NLL)
    strength = strength_of(method)
    if ratio is None or gain is None or cost is None or strength is None:
        return None
    distinct = mean_difference(answers, reference, DISTINCT_2)
    return Point(
        method=method.name,
        strength=strength,
        ratio=ratio,
        gain=gain,
        cost=cost,
        relevance=mean_difference(answers, reference, RELEVANCE),
        repeated=None if distinct is None else -distinct.mean,
        broken=int(sum(answer.scores[BROKEN] for answer in answers)),
        held_back=mean_of(answers, BOUNDED_TOKENS),
    )
