"""The contents of a report, computed once for all of its forms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation.analysis.comparisons import (
    Comparison,
    compare_methods,
    method_pairs,
)
from amulet_integrations.evaluation.analysis.frontier import (
    DEFAULT_ALLOWANCE,
    Frontier,
    find_frontier,
)
from amulet_integrations.evaluation.judging.win_counts import win_counts
from amulet_integrations.evaluation.metrics.builtin_scores import (
    BUILTIN_SCORES,
    MAIN_SCORES,
    TARGETS,
)
from amulet_integrations.evaluation.runs.evaluation_result import Evaluation

from .score_tables import ScoreTable, score_table

MOST_POINTS = 4
"""If a frontier has more points, the tables of methods leave most of them out."""


class ReportContents:
    """The contents of a report.

    Args:
        evaluation: The evaluation, also one of a run that was stopped.
        allowance: How far `pref_nll` may rise at a recommended point, in nats per token.

    Attributes:
        evaluation: The evaluation.
        frontiers: The frontier over all preferences, and then of each preference; empty without at
            least two points.
        left_out: The names of the methods that are only in the frontier.
        compared: The answers of the methods in tables and plots. If there are many points, these
            are only the first method of Amulet and the recommended point.
        compared_methods: The methods of these answers.
        tables: A table of `compared` for each score, the main scores first.
        whole_tables: A table of all answers for each score.
        comparisons: The comparisons of `method_pairs`.
        counts: The counts of each judge over all preferences.
        counts_by_preference: The counts of each judge for each preference.

    Raises:
        EvaluationError: There is no answer, or the allowance is negative.
    """

    def __init__(self, evaluation: Evaluation, *, allowance: float = DEFAULT_ALLOWANCE) -> None:
        if not evaluation.answers:
            raise EvaluationError("There is no answer to report. Let the run give some first.")
        names = set(evaluation.score_names)
        scores = [it for it in BUILTIN_SCORES if it in names]
        scores += sorted(names - BUILTIN_SCORES.keys())
        self.evaluation = evaluation
        self.frontiers = tuple(self._find_frontiers(allowance))
        self.left_out = self._left_out()
        self.compared = tuple(it for it in evaluation.answers if it.method not in self.left_out)
        answering = {answer.method for answer in self.compared}
        self.compared_methods = [it for it in evaluation.methods if it.name in answering]
        self.tables = tuple(score_table(self.compared, score) for score in scores)
        self.whole_tables = self.tables
        if self.left_out:
            self.whole_tables = tuple(score_table(evaluation.answers, it) for it in scores)
        self.comparisons = tuple(self._compare(scores))
        self.counts = tuple(win_counts(evaluation.outcomes))
        self.counts_by_preference = tuple(win_counts(evaluation.outcomes, by_preference=True))

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

    def _find_frontiers(self, allowance: float) -> Iterator[Frontier]:
        preferences = [*dict.fromkeys(answer.preference for answer in self.evaluation.answers)]
        for preference in [None, *preferences] if len(preferences) > 1 else preferences:
            found = find_frontier(
                self.evaluation.answers,
                self.evaluation.methods,
                preference=preference,
                allowance=allowance,
            )
            if found is not None:
                yield found

    def _left_out(self) -> tuple[str, ...]:
        if not self.frontiers or len(self.frontiers[0].points) <= MOST_POINTS:
            return ()
        # The first method of Amulet is the one that judges compare.
        first = next(it.name for it in self.evaluation.methods if it.kind == "amulet")
        kept = {first, self.recommended}
        return tuple(it.method for it in self.frontiers[0].points if it.method not in kept)

    def _compare(self, scores: Sequence[str]) -> Iterator[Comparison]:
        pairs = method_pairs(self.compared_methods)
        tested: dict[str, list[str | None]] = {score: [None] for score in scores if _is_main(score)}
        for preference in dict.fromkeys(answer.preference for answer in self.evaluation.answers):
            target = TARGETS.get(preference)
            if target is not None and target.score in scores:
                tested.setdefault(target.score, []).append(preference)
        for score, chosen in tested.items():
            yield from compare_methods(self.compared, score, pairs, chosen)


def _is_main(score: str) -> bool:
    return score in MAIN_SCORES or score not in BUILTIN_SCORES
