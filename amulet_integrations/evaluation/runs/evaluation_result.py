"""The result of an evaluation, from a run or read from its folder."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Self

from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation.analysis.comparisons import mean_of
from amulet_integrations.evaluation.data.record_types import (
    BOUNDED_TOKENS,
    Answer,
    AnswerKey,
    EvaluationModel,
    Method,
    Outcome,
    Preference,
    ScoreLine,
)
from amulet_integrations.evaluation.metrics.scorer import check_unique

from .journal import Journal
from .output_folder import ANSWERS, OUTCOMES, SCORES, read_settings
from .run_settings import Settings


class Evaluation(EvaluationModel):
    """The answers of an evaluation with their scores, and the verdicts of judges.

    Attributes:
        settings: The settings of the run.
        answers: The answers with their scores, by data set, question, preference and method in
            the order of the settings.
        outcomes: The verdicts of judges.
        scorers: The names of the scorers, with their models if they have some.
        judges: The names of the judges.
        folder: The output folder, or None.
    """

    settings: Settings
    answers: tuple[Answer, ...]
    outcomes: tuple[Outcome, ...] = ()
    scorers: tuple[str, ...] = ()
    judges: tuple[str, ...] = ()
    folder: Path | None = None

    @classmethod
    def read(cls, folder: str | os.PathLike[str], *, without: Collection[str] = ()) -> Self:
        """Reads an evaluation from its folder, also one of a run that was stopped.

        Args:
            folder: The output folder of a run.
            without: The names of scorers whose scores are left out. This is for a folder in which
                two scorers give scores of the same name, such as two reward models.

        Raises:
            EvaluationError: The folder has no evaluation, or one that this version cannot read; or
                two scorers give a score of the same name.
        """
        path = Path(folder)
        stored = read_settings(path)
        try:
            settings = Settings.model_validate(stored)
        except EvaluationError as error:
            raise EvaluationError(
                f"The settings in {path} are not of this version of the package."
            ) from error
        return cls.of(
            settings,
            Journal.read(path / ANSWERS, Answer),
            [it for it in Journal.read(path / SCORES, ScoreLine) if it.scorer not in without],
            Journal.read(path / OUTCOMES, Outcome),
            path,
        )

    @classmethod
    def of(
        cls,
        settings: Settings,
        answers: Iterable[Answer],
        lines: Iterable[ScoreLine],
        outcomes: Iterable[Outcome],
        folder: Path | None,
    ) -> Self:
        """Combines the records of a run.

        Args:
            settings: The settings of the run.
            answers: The answers without their scores, in any order.
            lines: The scores of all scorers.
            outcomes: The verdicts of judges.
            folder: The output folder, or None.

        Raises:
            EvaluationError: Two scorers give a score of the same name, even of different answers:
                their mean would be of neither scorer.
        """
        answers, lines, outcomes = _sort(settings, answers), tuple(lines), tuple(outcomes)
        scores: dict[AnswerKey, dict[str, float]] = {answer.key: {} for answer in answers}
        for answer in answers:
            if answer.bounded_tokens is not None:
                scores[answer.key][BOUNDED_TOKENS] = answer.bounded_tokens
        owners: dict[str, str] = {}
        for line in lines:
            check_unique(owners, line.scorer, line.scores)
            scores.setdefault(line.key, {}).update(line.scores)
        return cls(
            settings=settings,
            answers=tuple(it.model_copy(update={"scores": scores[it.key]}) for it in answers),
            outcomes=outcomes,
            scorers=tuple(dict.fromkeys(line.scorer for line in lines)),
            judges=tuple(dict.fromkeys(outcome.judge for outcome in outcomes)),
            folder=folder,
        )

    @property
    def methods(self) -> tuple[Method, ...]:
        """The methods."""
        return self.settings.methods

    @property
    def preferences(self) -> tuple[Preference, ...]:
        """The preferences."""
        return self.settings.preferences

    @property
    def data_sets(self) -> tuple[str, ...]:
        """The names of the data sets."""
        return tuple(facts.name for facts in self.settings.data_sets)

    @property
    def score_names(self) -> tuple[str, ...]:
        """The names of the scores that at least one answer has."""
        return tuple(dict.fromkeys(name for answer in self.answers for name in answer.scores))

    def select(
        self,
        *,
        method: str | None = None,
        preference: str | None = None,
        data_set: str | None = None,
    ) -> tuple[Answer, ...]:
        """Returns the answers of a method, to a preference, of a data set; None takes all."""
        return tuple(
            answer
            for answer in self.answers
            if method in {None, answer.method}
            and preference in {None, answer.preference}
            and data_set in {None, answer.data_set}
        )

    def values(self, score: str, **chosen: str | None) -> tuple[float, ...]:
        """Returns a score of those answers of `select` that have it."""
        return tuple(it.scores[score] for it in self.select(**chosen) if score in it.scores)

    def mean(self, score: str, **chosen: str | None) -> float | None:
        """Returns the mean of a score as in the report: the mean of the data sets' means.

        Args:
            score: The name of the score.
            **chosen: The arguments of `select`.

        Returns:
            The mean, or None if no answer has the score.
        """
        found = mean_of(self.select(**chosen), score)
        return None if found is None else found.mean


def _sort(settings: Settings, answers: Iterable[Answer]) -> list[Answer]:
    data_sets = {item.name: place for place, item in enumerate(settings.data_sets)}
    preferences = {item.name: place for place, item in enumerate(settings.preferences)}
    methods = {item.name: place for place, item in enumerate(settings.methods)}
    return sorted(
        answers,
        key=lambda it: (
            data_sets.get(it.data_set, -1),
            it.index,
            preferences.get(it.preference, -1),
            methods.get(it.method, -1),
        ),
    )
