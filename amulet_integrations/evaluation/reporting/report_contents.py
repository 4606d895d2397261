"""The contents of a report, computed once for all of its forms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation.analysis.comparisons import (
    Comparison,
    compare_methods,
    method_pairs,
)
from amulet_integrations.evaluation.analysis.frontier import (
    DEFAULT_ALLOWANCE,
    Frontier,
    check_allowance,
    find_frontier,
)
from amulet_integrations.evaluation.data.record_types import Answer, Method
from amulet_integrations.evaluation.judging.win_counts import WinCount, win_counts
from amulet_integrations.evaluation.metrics.builtin_scores import (
    BUILTIN_SCORES,
    MAIN_SCORES,
    TARGETS,
)
from amulet_integrations.evaluation.runs.evaluation_result import Evaluation

from .score_tables import ScoreTable, score_table

MOST_POINTS = 4
"""If a frontier has more points, the tables of methods leave most of them out."""


@dataclass(frozen=True)
class ReportContents:
    """The contents of a report.

    Attributes:
        evaluation: The evaluation.
        compared: The answers of the methods in tables and plots. If there are many points, these
            are only the first method of Amulet and the recommended point.
        left_out: The names of the methods that are only in the frontier.
        tables: A table of `compared` for each score, the main scores first.
        whole_tables: A table of all answers for each score.
        comparisons: The comparisons of `method_pairs`.
        frontiers: The frontier over all preferences, and then of each preference; empty without at
            least two points.
        counts: The counts of each judge over all preferences.
        counts_by_preference: The counts of each judge for each preference.
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
    def recommended(self) -> str | None:
        """The name of the recommended method, or None."""
        point = self.frontiers[0].recommended if self.frontiers else None
        return None if point is None else point.method

    @property
    def main_tables(self) -> tuple[ScoreTable, ...]:
        """The tables that a reader looks at first, and that have plots."""
        return tuple(table for table in self.tables if _is_main(table.score))

    @property
    def other_tables(self) -> tuple[ScoreTable, ...]:
        """The other tables."""
        return tuple(table for table in self.tables if not _is_main(table.score))

    @property
    def facts(self) -> dict[str, str]:
        """The model, the scorers, the judges and the versions behind the numbers."""
        settings = self.evaluation.settings
        computed = [settings.dtype, settings.device and f"on {settings.device}"]
        facts = {
            "Model": settings.model,
            "Revision": settings.model_revision,
            "Computed in": " ".join(part for part in computed if part),
            "Measured by": ", ".join(self.evaluation.scorers),
            "Judged by": ", ".join(self.evaluation.judges),
            "Versions": ", ".join(f"{name} {it}" for name, it in settings.versions.items()),
            "Left out": self.too_long,
        }
        return {name: value for name, value in facts.items() if value}

    @property
    def too_long(self) -> str:
        """The questions that were too long for the model; "" if there are none."""
        counts = [f"{it} of {name}" for name, it in self.evaluation.settings.left_out.items()]
        return f"{', '.join(counts)}: too long for the model's context window" if counts else ""


def gather_contents(
    evaluation: Evaluation, *, allowance: float = DEFAULT_ALLOWANCE
) -> ReportContents:
    """Computes the contents of a report.

    Args:
        evaluation: The evaluation, also one of a run that was stopped.
        allowance: How far `pref_nll` may rise at a recommended point, in nats per token.

    Raises:
        EvaluationError: There is no answer, or the allowance is negative.
    """
    check_allowance(allowance)
    answers = evaluation.answers
    if not answers:
        raise EvaluationError("There is no answer to report. Let the run give some first.")
    names = set(evaluation.score_names)
    scores = [it for it in BUILTIN_SCORES if it in names] + sorted(names - BUILTIN_SCORES.keys())
    preferences = tuple(dict.fromkeys(answer.preference for answer in answers))
    frontiers = tuple(_frontiers(evaluation, preferences, allowance))
    left_out = _left_out(evaluation.methods, frontiers)
    compared = tuple(answer for answer in answers if answer.method not in left_out)
    tables = tuple(score_table(compared, score) for score in scores)
    whole_tables = tuple(score_table(answers, it) for it in scores) if left_out else tables
    return ReportContents(
        evaluation=evaluation,
        compared=compared,
        left_out=left_out,
        tables=tables,
        whole_tables=whole_tables,
        comparisons=tuple(_comparisons(compared, evaluation.methods, scores, preferences)),
        frontiers=frontiers,
        counts=tuple(win_counts(evaluation.outcomes)),
        counts_by_preference=tuple(win_counts(evaluation.outcomes, by_preference=True)),
    )


def answering(answers: Sequence[Answer], methods: Sequence[Method]) -> list[Method]:
    """Returns the methods that have answers."""
    names = {answer.method for answer in answers}
    return [method for method in methods if method.name in names]


def _frontiers(
    evaluation: Evaluation, preferences: Sequence[str], allowance: float
) -> Iterator[Frontier]:
    chosen: list[str | None] = [None, *preferences] if len(preferences) > 1 else [*preferences]
    for preference in chosen:
        found = find_frontier(
            evaluation.answers, evaluation.methods, preference=preference, allowance=allowance
        )
        if found is not None:
            yield found


def _left_out(methods: Sequence[Method], frontiers: Sequence[Frontier]) -> tuple[str, ...]:
    if not frontiers or len(frontiers[0].points) <= MOST_POINTS:
        return ()
    # The first method of Amulet is the one that judges compare.
    kept = {next(method.name for method in methods if method.kind == "amulet")}
    if frontiers[0].recommended is not None:
        kept.add(frontiers[0].recommended.method)
    return tuple(point.method for point in frontiers[0].points if point.method not in kept)


def _comparisons(
    answers: Sequence[Answer],
    methods: Sequence[Method],
    scores: Sequence[str],
    preferences: Sequence[str],
) -> Iterator[Comparison]:
    pairs = method_pairs(answering(answers, methods))
    tested: dict[str, list[str | None]] = {score: [None] for score in scores if _is_main(score)}
    for preference in preferences:
        target = TARGETS.get(preference)
        if target is not None and target.score in scores:
            tested.setdefault(target.score, []).append(preference)
    for score, chosen in tested.items():
        yield from compare_methods(answers, score, pairs, chosen)


def _is_main(score: str) -> bool:
    return score in MAIN_SCORES or score not in BUILTIN_SCORES
