"""Everything that a report holds, found once for all of its forms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation.analysis.comparisons import Comparison, compare_methods
from amulet_integrations.evaluation.analysis.frontier import (
    DEFAULT_ALLOWANCE,
    Frontier,
    check_allowance,
    frontier,
    has_frontier,
)
from amulet_integrations.evaluation.analysis.method_pairs import method_pairs
from amulet_integrations.evaluation.analysis.result import Evaluation
from amulet_integrations.evaluation.judging.judge import WinCount, win_counts
from amulet_integrations.evaluation.metrics.likelihoods import BROKEN, PREF_NLL, PREFERENCE_RATIO
from amulet_integrations.evaluation.metrics.relevance import RELEVANCE
from amulet_integrations.evaluation.metrics.reward_heads import REWARD
from amulet_integrations.evaluation.metrics.score_notes import OWN_SCORES, in_order
from amulet_integrations.evaluation.metrics.target import aim_of
from amulet_integrations.evaluation.reporting.tables import ScoreTable, score_table
from amulet_integrations.evaluation.runs.records import Answer, Method

MOST_POINTS = 4
"""Points of a frontier that the tables of methods show; more would bury the other methods."""

_MAIN = frozenset({REWARD, PREFERENCE_RATIO, PREF_NLL, RELEVANCE, BROKEN})


@dataclass(frozen=True)
class Contents:
    """What a report holds.

    Attributes:
        evaluation: What is reported.
        compared: The answers of the methods that tables and plots show: of many points only
            the first method of Amulet and the recommended one.
        left_out: The names of the methods that are in the frontier alone.
        tables: A table of those for each score, the main ones first.
        whole_tables: The same of all answers.
        comparisons: The first method of Amulet against every other one, and every other one
            against `pref`; see `contests`.
        frontiers: What strengths and bounds gain and cost, for all preferences and then for each;
            empty without at least two of them.
        counts: What each judge said, for all preferences together.
        counts_by_preference: The same for each.
    """

    evaluation: Evaluation
    compared: tuple[Answer, ...]
    left_out: tuple[str, ...]
    tables: tuple[ScoreTable, ...]
    whole_tables: tuple[ScoreTable, ...]
    comparisons: tuple[Comparison, ...]
    frontiers: tuple[Frontier, ...]
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
        allowance: By how many nats per token `pref_nll` may rise at a recommended point.

    Raises:
        EvaluationError: There is no answer, or the allowance is negative.
    """
    check_allowance(allowance)
    answers = evaluation.answers
    if not answers:
        raise EvaluationError("There is no answer to report. Let the run give some first.")
    scores = in_order(set(evaluation.score_names))
    preferences = tuple(dict.fromkeys(answer.preference for answer in answers))
    frontiers = _frontiers(evaluation, preferences, allowance)
    left_out = _left_out(evaluation.methods, frontiers)
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
        frontiers=frontiers,
        counts=tuple(win_counts(evaluation.outcomes)),
        counts_by_preference=tuple(win_counts(evaluation.outcomes, by_preference=True)),
    )


def _frontiers(
    evaluation: Evaluation, preferences: Sequence[str], allowance: float
) -> tuple[Frontier, ...]:
    """Over all preferences, and then over each; nothing without points."""
    answers, methods = evaluation.answers, evaluation.methods
    asked: list[str | None] = [None, *preferences] if len(preferences) > 1 else [*preferences]
    return tuple(
        frontier(answers, methods, preference=preference, allowance=allowance)
        for preference in asked
        if has_frontier([a for a in answers if preference in {None, a.preference}], methods)
    )


def _left_out(methods: Sequence[Method], frontiers: Sequence[Frontier]) -> tuple[str, ...]:
    """What the frontier shows better."""
    if not frontiers or len(frontiers[0].points) <= MOST_POINTS:
        return ()
    # Judges are asked about the first one.
    kept = {next(method.name for method in methods if method.kind == "amulet")}
    if frontiers[0].recommended is not None:
        kept.add(frontiers[0].recommended.method)
    return tuple(point.method for point in frontiers[0].points if point.method not in kept)


def _comparisons(
    answers: Sequence[Answer],
    methods: Sequence[Method],
    scores: Sequence[str],
    preferences: Sequence[str],
) -> list[Comparison]:
    pairs = method_pairs(_answering(answers, methods))
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
    return score in _MAIN or score not in OWN_SCORES
