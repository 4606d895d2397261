"""Counts the wins, ties and losses of methods."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from amulet_integrations.evaluation.analysis.statistics import (
    Estimate,
    Sample,
    estimate,
    group_samples,
    sign_flip_p_value,
)
from amulet_integrations.evaluation.data.record_types import Outcome, group_by

_POINTS = {"win": 1.0, "tie": 0.5, "lose": 0.0}
_EVEN = 0.5  # the win rate of two methods that are alike


@dataclass(frozen=True)
class WinCount:
    """How often a method won against another, by the verdicts of one judge.

    Attributes:
        judge: The name of the judge.
        preference: The name of the preference; None for all of them.
        method: The method.
        against: The other method.
        wins: The pairs in which `method` was preferred in both orders.
        ties: The pairs that were called a tie, or whose verdicts in the two orders disagree.
        losses: The pairs in which `against` was preferred in both orders.
        unread: The pairs without a result, because a reply could not be read.
        unparsable: The replies that could not be read, at most two of each pair.
        rate: The share of wins and half of the ties among the pairs with a result, as the mean of
            the data sets' rates, with its interval. None if no pair has a result.
        p_value: The p-value of a sign-flip test over questions, against a rate of one half; not
            corrected for other tests. None if no pair has a result.
    """

    judge: str
    preference: str | None
    method: str
    against: str
    wins: int
    ties: int
    losses: int
    unread: int
    unparsable: int
    rate: Estimate | None
    p_value: float | None


def win_counts(outcomes: Iterable[Outcome], *, by_preference: bool = False) -> list[WinCount]:
    """Counts the wins, ties and losses of each two methods, in the order of their appearance.

    Args:
        outcomes: The verdicts of judges. Each judge is counted separately.
        by_preference: Whether preferences are counted separately.
    """

    def key(outcome: Outcome) -> tuple[str, str | None, str, str]:
        preference = outcome.preference if by_preference else None
        return outcome.judge, preference, outcome.method, outcome.against

    counts = []
    for names, group in group_by(outcomes, key).items():
        results = [outcome.result for outcome in group]
        counts.append(
            WinCount(
                *names,
                wins=results.count("win"),
                ties=results.count("tie"),
                losses=results.count("lose"),
                unread=results.count(None),
                unparsable=sum(outcome.unparsable for outcome in group),
                rate=estimate(_samples(group)),
                p_value=sign_flip_p_value(_samples(group, minus=_EVEN)),
            )
        )
    return counts


def _samples(outcomes: Iterable[Outcome], *, minus: float = 0.0) -> list[Sample]:
    return group_samples(
        (it.data_set, it.index, _POINTS[it.result] - minus) for it in outcomes if it.result
    )
