"""Scores of answers, gathered for means and for tests between methods."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from amulet_integrations.evaluation.analysis.statistics import (
    Estimate,
    Sample,
    estimate,
    holm,
    sign_flip_p_value,
)
from amulet_integrations.evaluation.runs.records import Answer, by_method

_Case = tuple[str, int, str]


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
        holm: The same, corrected for all tests of the score that were made together.
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


def mean_difference(
    ours: Iterable[Answer], theirs: Iterable[Answer], score: str
) -> Estimate | None:
    """How far a score of one method's answers is above another's, on the mean.

    Args:
        ours: The answers of the one.
        theirs: Those of the other.
        score: The score's name.

    Returns:
        The mean over the cases in which both have the score; None where there is none.
    """
    return estimate(_differences(_values(ours, score), _values(theirs, score), None))


def compare_methods(
    answers: Sequence[Answer],
    score: str,
    pairs: Iterable[tuple[str, str]],
    preferences: Sequence[str | None] = (None,),
) -> list[Comparison]:
    """Compares methods in a score, and corrects for all of these tests together.

    Args:
        answers: The answers of a run.
        score: The score's name.
        pairs: Which method is compared with which.
        preferences: Of which preferences the answers are; None takes all of them together.

    Returns:
        For each of the preferences a comparison for each pair that answered some case in common,
        in their order.
    """
    held = {method: _values(theirs, score) for method, theirs in by_method(answers).items()}
    asked = list(pairs)
    found: list[tuple[str | None, str, str, Estimate, float]] = []
    for preference in preferences:
        for method, against in asked:
            ours, theirs = held.get(method, {}), held.get(against, {})
            differences = _differences(ours, theirs, preference)
            difference, p_value = estimate(differences), sign_flip_p_value(differences)
            if difference is not None and p_value is not None:
                found.append((preference, method, against, difference, p_value))
    corrected = holm([p_value for *_, p_value in found])
    return [
        Comparison(score, *one, adjusted) for one, adjusted in zip(found, corrected, strict=True)
    ]


def _values(answers: Iterable[Answer], score: str) -> dict[_Case, float]:
    return {answer.case: answer.scores[score] for answer in answers if score in answer.scores}


def _differences(
    ours: Mapping[_Case, float], theirs: Mapping[_Case, float], preference: str | None
) -> list[Sample]:
    found: dict[str, dict[Hashable, list[float]]] = {}
    for key, value in ours.items():
        data_set, index, asked = key
        if key in theirs and preference in {None, asked}:
            questions = found.setdefault(data_set, {})
            questions.setdefault(index, []).append(value - theirs[key])
    return [*found.values()]
