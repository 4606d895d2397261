"""The means of scores, and the differences between methods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from amulet_integrations.evaluation.data.methods import reference_of
from amulet_integrations.evaluation.data.record_types import Answer, Method, by_method

from .statistics import Estimate, Sample, estimate, group_samples, holm, sign_flip_p_value

_Values = Mapping[tuple[str, int, str], float]  # the scores of a method by `Answer.prompt_key`


@dataclass(frozen=True)
class Comparison:
    """The difference between two methods in a score.

    It covers the questions and preferences that both methods answered.

    Attributes:
        score: The name of the score.
        preference: The name of the preference; None for all of them.
        method: The method.
        against: The method that it is compared with.
        difference: The mean of `method` minus the mean of `against`.
        p_value: The p-value of the sign-flip test.
        holm: The p-value, corrected for all tests of the score that were made together.
    """

    score: str
    preference: str | None
    method: str
    against: str
    difference: Estimate
    p_value: float
    holm: float


def mean_of(answers: Iterable[Answer], score: str) -> Estimate | None:
    """Returns the mean of the data sets' means of a score, or None if no answer has the score."""
    measured = (answer for answer in answers if score in answer.scores)
    return estimate(group_samples((it.data_set, it.index, it.scores[score]) for it in measured))


def mean_difference(
    answers: Iterable[Answer], others: Iterable[Answer], score: str
) -> Estimate | None:
    """Returns the mean difference in a score between the answers of two methods.

    Args:
        answers: The answers of one method.
        others: The answers of the other, whose score is subtracted.
        score: The name of the score.

    Returns:
        The mean over the questions and preferences for which both have the score, or None if
        there are none.
    """
    return estimate(_differences(_values(answers, score), _values(others, score), None))


def compare_methods(
    answers: Sequence[Answer],
    score: str,
    pairs: Iterable[tuple[str, str]],
    preferences: Sequence[str | None] = (None,),
) -> list[Comparison]:
    """Compares methods in a score, and corrects for all of these tests together.

    Args:
        answers: The answers of a run.
        score: The name of the score.
        pairs: The names of the methods to compare.
        preferences: Each pair is tested for each of these preferences; None stands for all
            preferences together.

    Returns:
        A comparison for each preference and each pair that has answers in common, in their order.
    """
    values = {method: _values(own, score) for method, own in by_method(answers).items()}
    pairs = list(pairs)
    tests: list[tuple[str | None, str, str, Estimate, float]] = []
    for preference in preferences:
        for method, against in pairs:
            samples = _differences(values.get(method, {}), values.get(against, {}), preference)
            difference, p_value = estimate(samples), sign_flip_p_value(samples)
            if difference is not None and p_value is not None:
                tests.append((preference, method, against, difference, p_value))
    corrected = holm([p_value for *_, p_value in tests])
    return [Comparison(score, *test, p) for test, p in zip(tests, corrected, strict=True)]


def method_pairs(methods: Sequence[Method]) -> list[tuple[str, str]]:
    """Returns the pairs of methods that are worth comparing, by their names.

    The first method of Amulet is compared with every other method, and every other method with
    `pref`, or with the first of all methods if there is no `pref`.

    Args:
        methods: The methods that have answers.
    """
    if not methods:
        return []
    amulet = next((method for method in methods if method.kind == "amulet"), None)
    reference = reference_of(methods) or methods[0]
    others = [method for method in methods if method is not amulet]
    pairs = [] if amulet is None else [(amulet, other) for other in others]
    if reference is not amulet:
        pairs += [(other, reference) for other in others if other is not reference]
    return [(method.name, against.name) for method, against in pairs]


def _values(answers: Iterable[Answer], score: str) -> _Values:
    return {it.prompt_key: it.scores[score] for it in answers if score in it.scores}


def _differences(values: _Values, others: _Values, preference: str | None) -> list[Sample]:
    return group_samples(
        (*key[:2], value - others[key])
        for key, value in values.items()
        if key in others and preference in {None, key[2]}
    )
