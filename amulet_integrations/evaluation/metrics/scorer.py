"""What a score is to an evaluation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, Protocol

from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation.runs.records import Answer, CaseKey, Preference


class Scorer(Protocol):
    """Measures answers. What it says is kept under its name, and not asked for again on resuming.

    A scorer may have an attribute `score_names`, the names of its scores: then a clash with
    another scorer's is found before any answer is given, and not when both were asked.

    Attributes:
        name: Tells apart what is measured. Whatever changes scores is part of it: where a model
            measures, its name, revision and type.
    """

    @property
    def name(self) -> str:
        """See the class."""

    def score(
        self, answers: Sequence[Answer], preferences: Mapping[str, Preference]
    ) -> list[dict[str, float]]:
        """Measures answers, each by itself.

        Args:
            answers: Some of the answers of a run.
            preferences: Every preference of the run, by its name.

        Returns:
            For each answer its scores by name; one that does not apply is left out. No two scorers
            of a run may give a score of one name.
        """


def read_scores(
    scorer: str, answers: Sequence[Answer], said: Any
) -> dict[CaseKey, dict[str, float]]:
    """Reads what a scorer returned, which is somebody else's code.

    Args:
        scorer: Its name.
        answers: What it was asked about.
        said: What it returned. Scalars of numpy and torch are numbers.

    Raises:
        EvaluationError: That is not a dict of finite numbers for each answer.
    """
    if not isinstance(said, list | tuple):
        raise EvaluationError(
            f"The scorer {scorer!r} gave {said!r}; it has to give a list, with one dict for each "
            "answer."
        )
    if len(said) != len(answers):
        raise EvaluationError(
            f"The scorer {scorer!r} gave {len(said)} scores for {len(answers)} answers; it has to "
            "give one dict for each."
        )
    return {
        answer.key: _read_one(scorer, answer, scores)
        for answer, scores in zip(answers, said, strict=True)
    }


def _read_one(scorer: str, answer: Answer, scores: Any) -> dict[str, float]:
    if not isinstance(scores, Mapping):
        raise EvaluationError(
            f"The scorer {scorer!r} says {scores!r} of {place_of(answer)}; it has to give a dict "
            "of numbers by the scores' names, an empty one where none applies."
        )
    found: dict[str, float] = {}
    for name, value in scores.items():
        if not isinstance(name, str) or not name.strip():
            raise EvaluationError(
                f"The scorer {scorer!r} calls a score {name!r}; a score's name is a text."
            )
        number = finite_number(value)
        if number is None:
            raise EvaluationError(
                f"The scorer {scorer!r} says {name}={value!r} of {place_of(answer)}; a score is a "
                "finite number, and left out where it does not apply."
            )
        found[name] = number
    return found


def place_of(answer: Answer) -> str:
    """Which answer it is, for people."""
    return (
        f"the answer by {answer.method!r} to question {answer.index} of {answer.data_set!r}, "
        f"preference {answer.preference!r}"
    )


def finite_number(value: Any, *, or_truth: bool = False) -> float | None:
    """A finite number as a float; None for anything else.

    Args:
        value: Anything; scalars of numpy and torch are numbers.
        or_truth: Whether True and False are numbers.
    """
    if callable(getattr(value, "item", None)):  # a scalar of numpy or torch
        try:
            value = value.item()
        except (RuntimeError, TypeError, ValueError):
            return None
    if isinstance(value, bool):
        return float(value) if or_truth else None
    if not isinstance(value, Real):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
