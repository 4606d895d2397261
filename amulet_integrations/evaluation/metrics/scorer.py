"""The interface of scorers, and the checks of what they return."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, Protocol

from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation.data.record_types import (
    Answer,
    Preference,
    ScoreLine,
    describe_answer,
)

_COMMIT_DIGITS = 12


class Scorer(Protocol):
    """Measures answers. Its scores are stored under its name, and reused when a run is resumed.

    A scorer may have an attribute `score_names` with the names of its scores. Then a clash with
    another scorer is found before the first answer, and not only when both have been called.

    Attributes:
        name: Identifies what is measured. Whatever changes scores must be part of it: for a model
            its name, revision and dtype.
    """

    @property
    def name(self) -> str:
        """See the class."""

    def score(
        self, answers: Sequence[Answer], preferences: Mapping[str, Preference]
    ) -> list[dict[str, float]]:
        """Measures answers, each independently of the others.

        Args:
            answers: Some of the answers of a run.
            preferences: Every preference of the run by its name.

        Returns:
            For each answer its scores by name. A score that does not apply is left out. No two
            scorers of a run may use the same name for a score.
        """


def check_unique(owners: dict[str, str], scorer: str, scores: Iterable[str]) -> None:
    """Checks that no other scorer gives these scores, and records them as this scorer's.

    Args:
        owners: The scorer of each score so far. The scores are added to it.
        scorer: The name of the scorer.
        scores: The names of its scores. Names may be repeated.

    Raises:
        EvaluationError: Another scorer gives a score of the same name.
    """
    for score in scores:
        other = owners.setdefault(score, scorer)
        if other != scorer:
            raise EvaluationError(
                f"The scorers {other!r} and {scorer!r} both give a score {score!r}, and one would "
                "hide the other. Leave one of them out, or let it call its score something else: "
                'a RewardModelScorer by score="reward_2". Of a folder that holds both, read one '
                f"with Evaluation.read(folder, without=[{other!r}])."
            )


def read_scores(scorer: str, answers: Sequence[Answer], returned: Any) -> list[ScoreLine]:
    """Checks what a scorer returned, since a scorer may be a user's own code.

    Args:
        scorer: The name of the scorer.
        answers: The answers that it measured.
        returned: What it returned. Scalars of numpy and torch are numbers.

    Returns:
        The scores of each answer.

    Raises:
        EvaluationError: The scorer did not return a dict of finite numbers for each answer.
    """
    if not isinstance(returned, list | tuple):
        raise EvaluationError(
            f"The scorer {scorer!r} gave {returned!r}; it has to give a list, with one dict for "
            "each answer."
        )
    if len(returned) != len(answers):
        raise EvaluationError(
            f"The scorer {scorer!r} gave {len(returned)} scores for {len(answers)} answers; it has "
            "to give one dict for each."
        )
    return [
        ScoreLine(
            **answer.key._asdict(), scorer=scorer, scores=_check_scores(scorer, answer, scores)
        )
        for answer, scores in zip(answers, returned, strict=True)
    ]


def model_label(name: str, model: Any) -> str:
    """Returns what identifies a model in a scorer's name: its name, its commit and its dtype."""
    commit = getattr(model.config, "_commit_hash", None)
    revision = f"@{commit[:_COMMIT_DIGITS]}" if commit else ""
    return f"{name}{revision} {str(model.dtype).removeprefix('torch.')}"


def _check_scores(scorer: str, answer: Answer, scores: Any) -> dict[str, float]:
    if not isinstance(scores, Mapping):
        raise EvaluationError(
            f"The scorer {scorer!r} gave {scores!r} for {describe_answer(answer)}; it has to give "
            "a dict of numbers by the scores' names, an empty one where none applies."
        )
    checked: dict[str, float] = {}
    for name, value in scores.items():
        if not isinstance(name, str) or not name.strip():
            raise EvaluationError(
                f"The scorer {scorer!r} calls a score {name!r}; a score's name is a text."
            )
        number = finite_number(value)
        if number is None:
            raise EvaluationError(
                f"The scorer {scorer!r} gave {name}={value!r} for {describe_answer(answer)}; a "
                "score is a finite number, and left out where it does not apply."
            )
        checked[name] = number
    return checked


def finite_number(value: Any, *, allow_bool: bool = False) -> float | None:
    """Converts a finite number to a float; returns None for anything else.

    Args:
        value: Any object. Scalars of numpy and torch are numbers.
        allow_bool: Whether True and False are numbers.
    """
    try:
        if callable(getattr(value, "item", None)):  # a scalar of numpy or torch
            value = value.item()
        number = float(value) if isinstance(value, Real) else math.nan
    except (OverflowError, RuntimeError, TypeError, ValueError):
        return None
    is_number = math.isfinite(number) and (allow_bool or not isinstance(value, bool))
    return number if is_number else None
