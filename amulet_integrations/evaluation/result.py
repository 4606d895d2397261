"""What an evaluation comes to."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Self

from amulet_integrations.errors import AmuletError, EvaluationError
from amulet_integrations.evaluation.folder import (
    ANSWERS,
    OUTCOMES,
    SCORES,
    ScoreLine,
    read_settings,
)
from amulet_integrations.evaluation.journal import Journal
from amulet_integrations.evaluation.records import (
    Answer,
    CaseKey,
    Method,
    Outcome,
    Preference,
)
from amulet_integrations.evaluation.settings import Settings
from amulet_integrations.evaluation.verdicts import VerdictLine
from amulet_integrations.validation import FrozenModel


class Evaluation(FrozenModel):
    """Answers, and what is known about them.

    Attributes:
        settings: How they came about.
        answers: With their scores; by data set, question, preference and method, in the order of
            the settings.
        outcomes: What a judge said, where there was one.
        folder: Where they are kept.
    """

    error_type: ClassVar[type[AmuletError]] = EvaluationError

    settings: Settings
    answers: tuple[Answer, ...]
    outcomes: tuple[Outcome, ...] = ()
    folder: Path | None = None

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> Self:
        """What a folder holds, also of a run that was stopped.

        Raises:
            EvaluationError: It holds no evaluation, or one that this version cannot read.
        """
        path = Path(folder)
        found = read_settings(path)
        try:
            settings = Settings.model_validate(found)
        except EvaluationError as error:
            raise EvaluationError(
                f"The settings in {path} are not of this version of the package."
            ) from error
        scores: dict[CaseKey, dict[str, float]] = {}
        for line in Journal.read(path / SCORES, ScoreLine):
            scores.setdefault(line.key, {}).update(line.scores)
        answers = Journal.read(path / ANSWERS, Answer)
        outcomes = [line.outcome for line in Journal.read(path / OUTCOMES, VerdictLine)]
        return cls(
            settings=settings,
            answers=in_order(settings, answers, [scores]),
            outcomes=tuple(outcomes),
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
        """The mean of `values`; None where there are none."""
        values = self.values(score, **chosen)
        return sum(values) / len(values) if values else None


def in_order(
    settings: Settings,
    answers: Iterable[Answer],
    measured: Sequence[Mapping[CaseKey, Mapping[str, float]]],
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

    return tuple(_scored(answer, measured) for answer in sorted(answers, key=place))


def _scored(answer: Answer, measured: Sequence[Mapping[CaseKey, Mapping[str, float]]]) -> Answer:
    scores: dict[str, float] = {}
    for said in measured:
        scores |= said.get(answer.key, {})
    return answer.model_copy(update={"scores": scores})
