"""Everything that a report holds, found once for all of its forms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation.comparisons import Comparison, compare_methods
from amulet_integrations.evaluation.judging import WinCount, win_counts
from amulet_integrations.evaluation.likelihoods import FLUENCY, PREFERENCE_RATIO
from amulet_integrations.evaluation.outcomes import aim_of
from amulet_integrations.evaluation.records import Answer, Outcome
from amulet_integrations.evaluation.reporting.tables import ScoreTable, score_table
from amulet_integrations.evaluation.score_notes import OWN_SCORES, REWARD, in_order
from amulet_integrations.evaluation.trade_off import (
    DEFAULT_ALLOWANCE,
    REFERENCE,
    TradeOff,
    has_strengths,
    trade_off,
)


@dataclass(frozen=True)
class Contents:
    """What a report holds.

    Attributes:
        answers: The answers, as they came.
        compared: Those of the methods that tables and plots show: of the strengths of a curve
            only the recommended one.
        tables: A table of those for each score, the main ones first.
        whole_tables: The same of all answers.
        comparisons: Every method against `pref`, or against the first where that is missing.
        curves: The trade-off over strengths, for all preferences and then for each; empty without
            strengths.
        counts: What a judge said, for all preferences together.
        counts_by_preference: The same for each.
    """

    answers: tuple[Answer, ...]
    compared: tuple[Answer, ...]
    tables: tuple[ScoreTable, ...]
    whole_tables: tuple[ScoreTable, ...]
    comparisons: tuple[Comparison, ...]
    curves: tuple[TradeOff, ...]
    counts: tuple[WinCount, ...]
    counts_by_preference: tuple[WinCount, ...]

    @property
    def main_tables(self) -> tuple[ScoreTable, ...]:
        """Those that a reader looks at first, and that are drawn."""
        return tuple(table for table in self.tables if _is_main(table.score))

    @property
    def other_tables(self) -> tuple[ScoreTable, ...]:
        """The others."""
        return tuple(table for table in self.tables if not _is_main(table.score))


def gather(
    answers: Sequence[Answer], outcomes: Sequence[Outcome], *, allowance: float = DEFAULT_ALLOWANCE
) -> Contents:
    """Computes what a report holds.

    Raises:
        EvaluationError: There is no answer.
    """
    if not answers:
        raise EvaluationError("There is no answer to report. Let the run give some first.")
    scores = in_order({score for answer in answers for score in answer.scores})
    preferences = tuple(dict.fromkeys(answer.preference for answer in answers))
    curves: list[TradeOff] = []
    if has_strengths(answers):
        asked: list[str | None] = [None, *preferences] if len(preferences) > 1 else [*preferences]
        curves = [
            trade_off(answers, preference=preference, allowance=allowance)
            for preference in asked
            if has_strengths([a for a in answers if preference in {None, a.preference}])
        ]
    compared = _compared(answers, curves)
    tables = tuple(score_table(compared, score) for score in scores)
    whole = tables
    if len(compared) < len(answers):
        whole = tuple(score_table(answers, score) for score in scores)
    return Contents(
        answers=tuple(answers),
        compared=compared,
        tables=tables,
        whole_tables=whole,
        comparisons=tuple(_comparisons(compared, scores, preferences)),
        curves=tuple(curves),
        counts=tuple(win_counts(outcomes)),
        counts_by_preference=tuple(win_counts(outcomes, by_preference=True)),
    )


def _compared(answers: Sequence[Answer], curves: Sequence[TradeOff]) -> tuple[Answer, ...]:
    """Leaves out what the curve shows better, unless nothing of Amulet would be left."""
    if not curves:
        return tuple(answers)
    recommended = curves[0].recommended
    kept = {recommended.method} if recommended is not None else set()
    left_out = {answer.method for answer in answers if answer.method.startswith("amulet@")} - kept
    if all(point.method in left_out for point in curves[0].strengths):
        return tuple(answers)
    return tuple(answer for answer in answers if answer.method not in left_out)


def _comparisons(
    answers: Sequence[Answer], scores: Sequence[str], preferences: Sequence[str]
) -> list[Comparison]:
    methods = list(dict.fromkeys(answer.method for answer in answers))
    against = REFERENCE if REFERENCE in methods else methods[0]
    asked: list[tuple[str, str | None]] = [(score, None) for score in scores if _is_main(score)]
    for preference in preferences:
        aim = aim_of(preference)
        if aim is not None and aim.score in scores:
            asked.append((aim.score, preference))
    return [
        comparison
        for score, preference in asked
        for comparison in compare_methods(answers, score, against, preference)
    ]


def _is_main(score: str) -> bool:
    return score in {REWARD, PREFERENCE_RATIO, FLUENCY} or score not in OWN_SCORES
