"""Scores of answers, gathered for means and for tests between methods."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from amulet_integrations.evaluation.records import Answer
from amulet_integrations.evaluation.statistics import (
    Estimate,
    Sample,
    estimate,
    holm,
    sign_flip_p_value,
)


@dataclass(frozen=True)
class Comparison:
    """How two methods differ in a score, over the questions and preferences that both answered.

    Attributes:
        score: The score's name.
        preference: The preference's name; None for all of them.
        method: The method.
        against: The method that it is compared with.
        difference: The mean of `method` less that of `against`.
        p_value: Of the sign-flip test.
        holm: The same, corrected for all tests made together.
    """

    score: str
    preference: str | None
    method: str
    against: str
    difference: Estimate
    p_value: float
    holm: float


def samples_of(answers: Iterable[Answer], score: str) -> list[Sample]:
    """A score of answers, by question, for each data set."""
    found: dict[str, dict[Hashable, list[float]]] = {}
    for answer in answers:
        if score in answer.scores:
            questions = found.setdefault(answer.data_set, {})
            questions.setdefault(answer.index, []).append(answer.scores[score])
    return [*found.values()]


def mean_of(answers: Iterable[Answer], score: str) -> Estimate | None:
    """The mean of the data sets' means of a score, with its interval; None without a value."""
    return estimate(samples_of(answers, score))


def compare_methods(
    answers: Sequence[Answer], score: str, against: str, preference: str | None = None
) -> list[Comparison]:
    """Compares every other method with one of them.

    Args:
        answers: The answers of a run.
        score: The score's name.
        against: The method that the others are compared with.
        preference: Only answers to this preference; None takes all.

    Returns:
        A comparison for each method that answered what `against` answered, in their order.
    """
    asked = [answer for answer in answers if preference in {None, answer.preference}]
    theirs = _values([answer for answer in asked if answer.method == against], score)
    found: list[tuple[str, Estimate, float]] = []
    for method in dict.fromkeys(answer.method for answer in asked):
        if method == against:
            continue
        ours = _values([answer for answer in asked if answer.method == method], score)
        differences = _differences(ours, theirs)
        difference, p_value = estimate(differences), sign_flip_p_value(differences)
        if difference is not None and p_value is not None:
            found.append((method, difference, p_value))
    corrected = holm([p_value for _, _, p_value in found])
    return [
        Comparison(score, preference, method, against, difference, p_value, adjusted)
        for (method, difference, p_value), adjusted in zip(found, corrected, strict=True)
    ]


def _values(answers: Iterable[Answer], score: str) -> dict[tuple[str, int, str], float]:
    return {answer.case: answer.scores[score] for answer in answers if score in answer.scores}


def _differences(
    ours: dict[tuple[str, int, str], float], theirs: dict[tuple[str, int, str], float]
) -> list[Sample]:
    found: dict[str, dict[Hashable, list[float]]] = {}
    for key, value in ours.items():
        if key in theirs:
            data_set, index, _ = key
            questions = found.setdefault(data_set, {})
            questions.setdefault(index, []).append(value - theirs[key])
    return [*found.values()]
