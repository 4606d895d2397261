"""What more strength gains and what it costs: the preference ratio against fluency."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation.comparisons import mean_of
from amulet_integrations.evaluation.likelihoods import FLUENCY, PREFERENCE_RATIO
from amulet_integrations.evaluation.records import Answer, Method, by_method
from amulet_integrations.evaluation.statistics import Estimate

DEFAULT_ALLOWANCE = 0.25
"""Nats per token that fluency may cost."""


@dataclass(frozen=True)
class Strength:
    """Amulet at one strength.

    Attributes:
        method: The method's name.
        iterations: How many it plays.
        ratio: The preference ratio per token.
        fluency: The negative log-likelihood per token under the base context.
    """

    method: str
    iterations: int
    ratio: Estimate
    fluency: Estimate


@dataclass(frozen=True)
class TradeOff:
    """The curve over strengths.

    Attributes:
        preference: The preference's name; None for all of them.
        reference: The ratio and fluency of the method of the kind "pref".
        strengths: Weakest first.
        allowance: How far above the reference's fluency a strength may be recommended.
    """

    preference: str | None
    reference: Strength
    strengths: tuple[Strength, ...]
    allowance: float

    @property
    def affordable(self) -> Strength | None:
        """The largest strength up to which fluency stays within the allowance.

        None where already the weakest is past it. A stronger one than the first that is past it
        does not count, for a curve that comes back has turned to something else: to loops, which
        are likely and of no use.
        """
        limit = self.reference.fluency.mean + self.allowance
        within = takewhile(lambda point: point.fluency.mean <= limit, self.strengths)
        return max(within, key=lambda point: point.iterations, default=None)

    @property
    def recommended(self) -> Strength | None:
        """The affordable strength; None where there is none, or it gains nothing."""
        found = self.affordable
        return found if found is not None and self._gain_of(found) > 0 else None

    @property
    def gain(self) -> float | None:
        """How far the recommended strength's ratio is above the reference's."""
        if self.recommended is None:
            return None
        return self._gain_of(self.recommended)

    @property
    def gain_kept(self) -> float | None:
        """The share of the largest gain of any strength that the recommended one keeps."""
        if self.gain is None:
            return None
        return self.gain / max(map(self._gain_of, self.strengths))

    def _gain_of(self, point: Strength) -> float:
        return point.ratio.mean - self.reference.ratio.mean


def check_allowance(allowance: float) -> None:
    """Refuses an allowance that is none.

    Raises:
        EvaluationError: It is negative, or no number.
    """
    if not allowance >= 0:
        raise EvaluationError(
            f"allowance={allowance}: it is how much worse the fluency may get, in nats per token, "
            "so it is 0 or more."
        )


def reference_of(methods: Iterable[Method]) -> Method | None:
    """What strengths and differences are seen beside: the first method of the kind "pref"."""
    return next((method for method in methods if method.kind == "pref"), None)


def strengths_of(methods: Iterable[Method]) -> tuple[Method, ...]:
    """The methods that make a curve: Amulet with other iterations and nothing else other.

    Of several such groups it is the largest, and of equally large ones the first. Each number of
    iterations is there once.

    Returns:
        They, weakest first; also one alone.
    """
    groups: dict[Hashable, dict[int, Method]] = {}
    for method in methods:
        if method.kind == "amulet":
            rest = tuple(method.params.model_dump(exclude={"iterations"}).items())
            groups.setdefault(rest, {}).setdefault(method.params.iterations, method)
    largest = max(groups.values(), key=len, default={})
    return tuple(largest[iterations] for iterations in sorted(largest))


def has_strengths(answers: Sequence[Answer], methods: Iterable[Method]) -> bool:
    """Whether `pref` and two strengths of Amulet, or more, answered some case in common."""
    measured, reference, strengths = _compared(answers, methods)
    if reference is None or len(strengths) < 2:  # noqa: PLR2004 - one makes no curve
        return False
    return bool(_common(measured, [reference, *strengths]))


def trade_off(
    answers: Sequence[Answer],
    methods: Iterable[Method],
    *,
    preference: str | None = None,
    allowance: float = DEFAULT_ALLOWANCE,
) -> TradeOff:
    """Measures what strength gains and costs, on the cases that every strength answered.

    Args:
        answers: The answers of a run.
        methods: Its methods. The first of the kind "pref" and those of `strengths_of` count;
            others are left out, and so are those without an answer.
        preference: Only answers to this preference; None takes all.
        allowance: How many nats per token the fluency may be worse than that of `pref`.

    Raises:
        EvaluationError: The allowance is negative; `pref` or Amulet is missing, or they have no
            case in common.
    """
    check_allowance(allowance)
    asked = [answer for answer in answers if preference in {None, answer.preference}]
    measured, pref, strengths = _compared(asked, methods)
    if pref is None or not strengths:
        raise EvaluationError(
            "The trade-off needs answers of the method pref and of Amulet at some strengths, each "
            f"with {PREFERENCE_RATIO} and {FLUENCY}. Run them with the methods pref, amulet@2, "
            "amulet@10 and so on."
        )
    compared = [pref, *strengths]
    common = _common(measured, compared)
    if not common:
        raise EvaluationError(
            f"No question was answered by all of {', '.join(one.name for one in compared)}. Let "
            "the run go on to its end first."
        )
    reference, *points = (
        _strength(method, [a for a in measured[method.name] if a.case in common])
        for method in compared
    )
    return TradeOff(preference, reference, tuple(points), allowance)


def _compared(
    answers: Iterable[Answer], methods: Iterable[Method]
) -> tuple[dict[str, list[Answer]], Method | None, tuple[Method, ...]]:
    """The answers that were measured, by method; `pref`, and Amulet's strengths among them."""
    measured = by_method(
        answer
        for answer in answers
        if PREFERENCE_RATIO in answer.scores and FLUENCY in answer.scores
    )
    there = [method for method in methods if method.name in measured]
    return measured, reference_of(there), strengths_of(there)


def _common(
    measured: Mapping[str, Sequence[Answer]], methods: Iterable[Method]
) -> set[tuple[str, int, str]]:
    return set.intersection(*({a.case for a in measured[method.name]} for method in methods))


def _strength(method: Method, answers: Sequence[Answer]) -> Strength:
    ratio, fluency = mean_of(answers, PREFERENCE_RATIO), mean_of(answers, FLUENCY)
    if ratio is None or fluency is None:  # every answer has both
        raise EvaluationError(f"No answer of {method.name!r} was measured.")
    iterations = method.params.iterations if method.kind == "amulet" else 0
    return Strength(method.name, iterations, ratio, fluency)
