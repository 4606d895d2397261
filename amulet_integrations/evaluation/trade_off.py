"""What more strength gains and what it costs: the preference ratio against fluency."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from amulet_integrations.decoding import AmuletParams
from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation.comparisons import mean_of
from amulet_integrations.evaluation.likelihoods import FLUENCY, PREFERENCE_RATIO
from amulet_integrations.evaluation.records import Answer, by_method
from amulet_integrations.evaluation.statistics import Estimate

DEFAULT_ALLOWANCE = 0.25
"""Nats per token that fluency may cost."""

REFERENCE = "pref"

_AMULET = re.compile(r"amulet(?:@(\d+))?")


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
        reference: The `pref` method's ratio and fluency.
        strengths: Weakest first.
        allowance: How far above the reference's fluency a strength may be recommended.
        recommended: The largest strength within the allowance; None where none is.
    """

    preference: str | None
    reference: Strength
    strengths: tuple[Strength, ...]
    allowance: float
    recommended: Strength | None

    @property
    def gain(self) -> float | None:
        """How far the recommended strength's ratio is above the reference's."""
        if self.recommended is None:
            return None
        return self.recommended.ratio.mean - self.reference.ratio.mean

    @property
    def gain_kept(self) -> float | None:
        """The share of the largest gain of any strength that is kept; None without any gain."""
        largest = max(point.ratio.mean for point in self.strengths) - self.reference.ratio.mean
        if self.gain is None or largest <= 0:
            return None
        return self.gain / largest


def has_strengths(answers: Sequence[Answer]) -> bool:
    """Whether `pref` and two strengths of Amulet, or more, answered some case in common."""
    methods = by_method(answer for answer in answers if _measured(answer))
    iterations = _iterations(methods)
    if REFERENCE not in methods or len(iterations) < 2:  # noqa: PLR2004 - one makes no curve
        return False
    return bool(_common(methods, [REFERENCE, *iterations]))


def trade_off(
    answers: Sequence[Answer],
    *,
    preference: str | None = None,
    allowance: float = DEFAULT_ALLOWANCE,
) -> TradeOff:
    """Measures what strength gains and costs, on the cases that every strength answered.

    Args:
        answers: Those of `pref` and of Amulet at some strengths (methods "amulet@N", or "amulet"
            for the default); other methods are left out.
        preference: Only answers to this preference; None takes all.
        allowance: How many nats per token the fluency may be worse than that of `pref`.

    Raises:
        EvaluationError: The allowance is negative; `pref` or Amulet is missing, or they have no
            case in common.
    """
    if not allowance >= 0:
        raise EvaluationError(
            f"allowance={allowance}: it is how much worse the fluency may get, in nats per token, "
            "so it is 0 or more."
        )
    methods = by_method(
        answer
        for answer in answers
        if preference in {None, answer.preference} and _measured(answer)
    )
    iterations = _iterations(methods)
    if REFERENCE not in methods or not iterations:
        raise EvaluationError(
            f"The trade-off needs answers of {REFERENCE!r} and of Amulet at some strengths, each "
            f"with {PREFERENCE_RATIO} and {FLUENCY}. Run them with the methods "
            f"{REFERENCE}, amulet@2, amulet@10 and so on."
        )
    compared = [REFERENCE, *iterations]
    common = _common(methods, compared)
    if not common:
        raise EvaluationError(
            f"No question was answered by all of {', '.join(compared)}. Let the run go on to its "
            "end first."
        )
    reference, *points = (
        _strength(name, iterations.get(name, 0), [a for a in methods[name] if a.case in common])
        for name in compared
    )
    points.sort(key=lambda point: point.iterations)
    within = [p for p in points if p.fluency.mean <= reference.fluency.mean + allowance]
    return TradeOff(
        preference=preference,
        reference=reference,
        strengths=tuple(points),
        allowance=allowance,
        recommended=within[-1] if within else None,
    )


def _iterations(methods: dict[str, list[Answer]]) -> dict[str, int]:
    """The methods that are Amulet at a strength, each strength once."""
    found: dict[int, str] = {}
    for name in methods:
        if match := _AMULET.fullmatch(name):
            found.setdefault(int(match[1] or AmuletParams().iterations), name)
    return {name: iterations for iterations, name in found.items()}


def _common(methods: dict[str, list[Answer]], compared: Sequence[str]) -> set[tuple[str, int, str]]:
    return set.intersection(*({a.case for a in methods[name]} for name in compared))


def _measured(answer: Answer) -> bool:
    return PREFERENCE_RATIO in answer.scores and FLUENCY in answer.scores


def _strength(method: str, iterations: int, answers: Sequence[Answer]) -> Strength:
    ratio, fluency = mean_of(answers, PREFERENCE_RATIO), mean_of(answers, FLUENCY)
    if ratio is None or fluency is None:  # every answer has both
        raise EvaluationError(f"No answer of {method!r} was measured.")
    return Strength(method, iterations, ratio, fluency)
