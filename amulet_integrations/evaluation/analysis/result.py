"""What an evaluation comes to."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import ClassVar, Self

from amulet_integrations.errors import AmuletError, EvaluationError
from amulet_integrations.evaluation.analysis.comparisons import mean_of
from amulet_integrations.evaluation.metrics.measuring import scores_of
from amulet_integrations.evaluation.runs.folder import (
    ANSWERS,
    OUTCOMES,
    SCORES,
    read_settings,
)
from amulet_integrations.evaluation.runs.journal import Journal
from amulet_integrations.evaluation.runs.records import (
    BOUNDED_TOKENS,
    Answer,
    CaseKey,
    Method,
    Outcome,
    Preference,
    ScoreLine,
)
from amulet_integrations.evaluation.runs.settings import Settings
from amulet_integrations.evaluation.runs.unique import check_unique
from amulet_integrations.validation import FrozenModel


class Evaluation(FrozenModel):
    """Answers, and what is known about them.

    Attributes:
        settings: How they came about.
        answers: With their scores; by data set, question, preference and method, in the order of
            the settings.
        outcomes: What judges said, where there were some.
        scorers: Who measured: the names of the scorers, with their models where they have some.
        judges: Who judged.
        folder: Where they are kept.
    """

    error_type: ClassVar[type[AmuletError]] = EvaluationError

    settings: Settings
    answers: tuple[Answer, ...]
    outcomes: tuple[Outcome, ...] = ()
    scorers: tuple[str, ...] = ()
    judges: tuple[str, ...] = ()
    folder: Path | None = None

    @classmethod
    def read(cls, folder: str | os.PathLike[str], *, without: Collection[str] = ()) -> Self:
        """What a folder holds, also of a run that was stopped.

        Args:
            folder: The output folder of a run.
            without: Names of scorers whose scores are left out, for a folder in which two of them
                give scores of one name, such as two reward models.

        Raises:
            EvaluationError: It holds no evaluation, or one that this version cannot read; or two
                scorers give one answer a score of one name.
        """
        path = Path(folder)
        found = read_settings(path)
        try:
            settings = Settings.model_validate(found)
        except EvaluationError as error:
            raise EvaluationError(
                f"The settings in {path} are not of this version of the package."
            ) from error
        lines = Journal.read(path / SCORES, ScoreLine)
        scores = by_scorer(line for line in lines if line.scorer not in without)
        answers = Journal.read(path / ANSWERS, Answer)
        outcomes = Journal.read(path / OUTCOMES, Outcome)
        return cls(
            settings=settings,
            answers=in_order(settings, answers, merged(scores)),
            outcomes=tuple(outcomes),
            scorers=tuple(scores),
            judges=tuple(dict.fromkeys(outcome.judge for outcome in outcomes)),
            folder=path,
        )

    @property
    def methods(self) -> tuple[Method, ...]:
        """The methods compared."""
        return self.settings.methods

    @property
    def preferences(self) -> tuple[Preference, ...]:
        """The preferences asked for."""
        return self.settings.preferences

    @property
    def data_sets(self) -> tuple[str, ...]:
        """The names of the data sets."""
        return tuple(facts.name for facts in self.settings.data_sets)

    @property
    def score_names(self) -> tuple[str, ...]:
        """The scores that any answer has."""
        return tuple(dict.fromkeys(name for answer in self.answers for name in answer.scores))

    def select(
        self,
        *,
        method: str | None = None,
        preference: str | None = None,
        data_set: str | None = None,
    ) -> tuple[Answer, ...]:
        """The answers of a method, to a preference, of a data set; None takes all."""
        return tuple(
            answer
            for answer in self.answers
            if method in {None, answer.method}
            and preference in {None, answer.preference}
            and data_set in {None, answer.data_set}
        )

    def values(self, score: str, **chosen: str | None) -> tuple[float, ...]:
        """A score of those answers of `select` that have it."""
        return tuple(
            answer.scores[score] for answer in self.select(**chosen) if score in answer.scores
        )

    def mean(self, score: str, **chosen: str | None) -> float | None:
        """A score's mean as the report has it: the mean of the data sets' means.

        Args:
            score: The score's name.
            **chosen: See `select`.

        Returns:
            The mean; None where no answer has the score.
        """
        found = mean_of(self.select(**chosen), score)
        return None if found is None else found.mean


def by_scorer(lines: Iterable[ScoreLine]) -> dict[str, dict[CaseKey, dict[str, float]]]:
    """What each scorer says of answers, by its name."""
    scores: dict[str, dict[CaseKey, dict[str, float]]] = {}
    for line in lines:
        scores.setdefault(line.scorer, {})[line.key] = scores_of(line)
    return scores


def merged(
    measured: Mapping[str, Mapping[CaseKey, Mapping[str, float]]],
) -> dict[CaseKey, dict[str, float]]:
    """What several scorers say of answers, put together.

    Args:
        measured: What each says, by its name.

    Raises:
        EvaluationError: Two of them give a score of one name, be it of different answers: their
            mean would be of neither.
    """
    scores: dict[CaseKey, dict[str, float]] = {}
    givers: dict[str, str] = {}
    for scorer, said in measured.items():
        for key, values in said.items():
            check_unique(givers, scorer, values)
            scores.setdefault(key, {}).update(values)
    return scores


def in_order(
    settings: Settings,
    answers: Iterable[Answer],
    scores: Mapping[CaseKey, Mapping[str, float]],
) -> tuple[Answer, ...]:
    """Answers with everything that was measured about them, in the settings' order."""
    places = [
        {item: place for place, item in enumerate(items)}
        for items in (
            [facts.name for facts in settings.data_sets],
            [preference.name for preference in settings.preferences],
            [method.name for method in settings.methods],
        )
    ]

    def place(answer: Answer) -> tuple[int, int, int, int]:
        data_sets, preferences, methods = places
        return (
            data_sets.get(answer.data_set, -1),
            answer.index,
            preferences.get(answer.preference, -1),
            methods.get(answer.method, -1),
        )

    return tuple(
        answer.model_copy(update={"scores": {**_own_scores(answer), **scores.get(answer.key, {})}})
        for answer in sorted(answers, key=place)
    )


def _own_scores(answer: Answer) -> dict[str, float]:
    """What an answer brings with it: how much of it a bound held back."""
    return {} if answer.bounded_tokens is None else {BOUNDED_TOKENS: answer.bounded_tokens}
