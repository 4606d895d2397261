"""Everything that a report holds, found once for all of its forms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation.comparisons import Comparison, compare_methods
from amulet_integrations.evaluation.contests import contests
from amulet_integrations.evaluation.judging import WinCount, win_counts
from amulet_integrations.evaluation.likelihoods import FLUENCY, PREFERENCE_RATIO
from amulet_integrations.evaluation.outcomes import aim_of
from amulet_integrations.evaluation.records import Answer, Method
from amulet_integrations.evaluation.reporting.tables import ScoreTable, score_table
from amulet_integrations.evaluation.result import Evaluation
from amulet_integrations.evaluation.reward_heads import REWARD
from amulet_integrations.evaluation.score_notes import OWN_SCORES, in_order
from amulet_integrations.evaluation.trade_off import (
    DEFAULT_ALLOWANCE,
    TradeOff,
    check_allowance,
    has_strengths,
    trade_off,
)

MOST_STRENGTHS = 4
"""Strengths that the tables of methods show; more would bury the other methods."""


@dataclass(frozen=True)
class Contents:
    """What a report holds.

    Attributes:
        evaluation: What is reported.
        compared: The answers of the methods that tables and plots show: of many strengths only
            the first method of Amulet and the recommended one.
        left_out: The names of the methods that are in the curve alone.
        tables: A table of those for each score, the main ones first.
        whole_tables: The same of all answers.
        comparisons: The first method of Amulet against every other one, and every other one
            against `pref`; see `contests`.
        curves: The trade-off over strengths, for all preferences and then for each; empty without
            strengths.
        counts: What each judge said, for all preferences together.
        counts_by_preference: The same for each.
    """

    evaluation: Evaluation
    compared: tuple[Answer, ...]
    left_out: tuple[str, ...]
    tables: tuple[ScoreTable, ...]
    whole_tables: tuple[ScoreTable, ...]
    comparisons: tuple[Comparison, ...]
    curves: tuple[TradeOff, ...]
    counts: tuple[WinCount, ...]
    counts_by_preference: tuple[WinCount, ...]

    @property
    def compared_methods(self) -> tuple[Method, ...]:
        """The methods that tables and plots show."""
        return _answering(self.compared, self.evaluation.methods)

    @property
    def main_tables(self) -> tuple[ScoreTable, ...]:
        """Those that a reader looks at first, and that are drawn."""
        return tuple(table for table in self.tables if _is_main(table.score))

    @property
    def other_tables(self) -> tuple[ScoreTable, ...]:
        """The others."""
        return tuple(table for table in self.tables if not _is_main(table.score))


def gather(evaluation: Evaluation, *, allowance: float = DEFAULT_ALLOWANCE) -> Contents:
    """Computes what a report holds.

    Args:
        evaluation: What is reported; also of a run that was stopped.
        allowance: How many nats per token a recommended strength may cost in fluency.

    Raises:
        EvaluationError: There is no answer, or the allowance is negative.
    """
    check_allowance(allowance)
    answers = evaluation.answers
    if not answers:
        raise EvaluationError("There is no answer to report. Let the run give some first.")
    scores = in_order(set(evaluation.score_names))
    preferences = tuple(dict.fromkeys(answer.preference for answer in answers))
    curves = _curves(evaluation, preferences, allowance)
    left_out = _left_out(evaluation.methods, curves)
    compared = tuple(answer for answer in answers if answer.method not in left_out)
    tables = tuple(score_table(compared, score) for score in scores)
    whole = tables
    if left_out:
        whole = tuple(score_table(answers, score) for score in scores)
    return Contents(
        evaluation=evaluation,
        compared=compared,
        left_out=left_out,
        tables=tables,
        whole_tables=whole,
        comparisons=tuple(_comparisons(compared, evaluation.methods, scores, preferences)),
        curves=curves,
        counts=tuple(win_counts(evaluation.outcomes)),
        counts_by_preference=tuple(win_counts(evaluation.outcomes, by_preference=True)),
    )


def _curves(
    evaluation: Evaluation, preferences: Sequence[str], allowance: float
) -> tuple[TradeOff, ...]:
    """Over all preferences, and then over each; nothing without strengths."""
    answers, methods = evaluation.answers, evaluation.methods
    asked: list[str | None] = [None, *preferences] if len(preferences) > 1 else [*preferences]
    return tuple(
        trade_off(answers, methods, preference=preference, allowance=allowance)
        for preference in asked
        if has_strengths([a for a in answers if preference in {None, a.preference}], methods)
    )


def _left_out(methods: Sequence[Method], curves: Sequence[TradeOff]) -> tuple[str, ...]:
    """What the curve shows better."""
    if not curves or len(curves[0].strengths) <= MOST_STRENGTHS:
        return ()
    # Judges are asked about the first one.
    kept = {next(method.name for method in methods if method.kind == "amulet")}
    if curves[0].recommended is not None:
        kept.add(curves[0].recommended.method)
    return tuple(point.method for point in curves[0].strengths if point.method not in kept)


def _comparisons(
    answers: Sequence[Answer],
    methods: Sequence[Method],
    scores: Sequence[str],
    preferences: Sequence[str],
) -> list[Comparison]:
    pairs = contests(_answering(answers, methods))
    asked: dict[str, list[str | None]] = {score: [None] for score in scores if _is_main(score)}
    for preference in preferences:
        aim = aim_of(preference)
        if aim is not None and aim.score in scores:
            asked.setdefault(aim.score, []).append(preference)
    return [
        comparison
        for score, about in asked.items()
        for comparison in compare_methods(answers, score, pairs, about)
    ]


def _answering(answers: Sequence[Answer], methods: Sequence[Method]) -> tuple[Method, ...]:
    there = {answer.method for answer in answers}
    return tuple(method for method in methods if method.name in there)


def _is_main(score: str) -> bool:
    return score in {REWARD, PREFERENCE_RATIO, FLUENCY} or score not in OWN_SCORES
