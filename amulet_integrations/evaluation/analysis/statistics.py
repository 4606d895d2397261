"""Means with confidence intervals, and tests between methods, with questions as the unit.

The answers to one question under several preferences are not independent. So the bootstrap draws
whole questions, and the permutation test flips the signs of whole questions, never of single
answers.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Sample = Mapping[Hashable, Sequence[float]]
"""The questions of one data set, each with the values of its answers."""

LEVEL = 0.95
RESAMPLES = 2000
FLIPS = 10_000

_EXACT = 13  # up to so many questions every combination of signs is tried
_ROUNDING = 1e-12
_BLOCK = 1 << 21  # numbers in memory at once: 2000 resamples of 1000 questions


@dataclass(frozen=True)
class Estimate:
    """A mean with its confidence interval.

    Attributes:
        mean: The mean.
        low: The lower end of the interval; None if no data set has more than one question.
        high: The upper end of the interval, or None.
        questions: The number of questions.
        values: The number of answers with a value.
    """

    mean: float
    low: float | None
    high: float | None
    questions: int
    values: int


def group_samples(values: Iterable[tuple[str, int, float]]) -> list[Sample]:
    """Groups values by data set and question.

    Args:
        values: For each answer its data set, the index of its question, and its value.

    Returns:
        One sample for each data set.
    """
    samples: dict[str, dict[Hashable, list[float]]] = {}
    for data_set, index, value in values:
        samples.setdefault(data_set, {}).setdefault(index, []).append(value)
    return [*samples.values()]


def estimate(
    samples: Iterable[Sample],
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate | None:
    """Computes the mean of the data sets' means, with a percentile bootstrap interval.

    Args:
        samples: One for each data set. Questions are resampled within their data set.
        level: The confidence level of the interval.
        resamples: The number of bootstrap resamples.
        seed: The same seed gives the same interval.

    Returns:
        The mean, or None if there is no value.
    """
    totals = _totals(samples)
    if not totals:
        return None
    mean = float(np.mean([sums.sum() / counts.sum() for sums, counts in totals]))
    questions = sum(len(sums) for sums, _ in totals)
    values = int(sum(counts.sum() for _, counts in totals))
    if all(len(sums) == 1 for sums, _ in totals):
        return Estimate(mean, None, None, questions, values)
    means = np.zeros(resamples)
    for stratum, (sums, counts) in enumerate(totals):
        blocks = _resample(len(sums), resamples, seed, stratum)
        means += np.concatenate([(times @ sums) / (times @ counts) for times in blocks])
    tail = (1 - level) / 2
    low, high = np.quantile(means / len(totals), [tail, 1 - tail])
    return Estimate(mean, float(low), float(high), questions, values)


def sign_flip_p_value(
    differences: Iterable[Sample], *, flips: int = FLIPS, seed: int = 0
) -> float | None:
    """Tests whether the mean of paired differences is zero, by a two-sided permutation test.

    If the two methods were alike, the differences of each question could as well have the opposite
    sign. The p-value is the share of all combinations of signs whose mean is at least as far from
    zero as the observed mean. Up to 13 questions every combination is tried. Beyond that,
    combinations are drawn at random, and the observed one is added to them.

    Args:
        differences: One sample for each data set; data sets have equal weight.
        flips: How many combinations are drawn, if there are too many to try each.
        seed: The same seed gives the same p-value.

    Returns:
        The p-value, or None if there is no difference to test.
    """
    totals = _totals(differences)
    if not totals:
        return None
    parts = np.concatenate([sums / counts.sum() for sums, counts in totals]) / len(totals)
    seen = abs(parts.sum()) - _ROUNDING * np.abs(parts).sum()
    if len(parts) <= _EXACT:
        numbers = np.arange(2 ** len(parts))[:, None]
        signs = 1.0 - 2.0 * (numbers >> np.arange(len(parts)) & 1)
        return float(np.mean(np.abs(signs @ parts) >= seen))
    generator = np.random.default_rng(seed)
    at_least = 0
    size = max(1, _BLOCK // len(parts))
    for start in range(0, flips, size):
        signs = generator.choice([-1.0, 1.0], size=(min(size, flips - start), len(parts)))
        at_least += int((np.abs(signs @ parts) >= seen).sum())
    return (at_least + 1) / (flips + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrects p-values for the number of tests (Holm 1979), in the same order."""
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def _totals(samples: Iterable[Sample]) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Returns the sum and the number of each question's values, for each data set with values."""
    data_sets = [[answers for answers in sample.values() if answers] for sample in samples]
    return [
        (np.array([sum(it) for it in values]), np.array([float(len(it)) for it in values]))
        for values in data_sets
        if values
    ]


def _resample(questions: int, resamples: int, seed: int, stratum: int) -> Iterable[NDArray[Any]]:
    """Yields how often each question is drawn, in blocks of shape (some resamples, questions).

    Resamples that fit into one block are kept: a report has hundreds of means of as many questions.
    """
    if questions * resamples > _BLOCK:
        return _draw(questions, resamples, seed, stratum)
    return _draw_once(questions, resamples, seed, stratum)


@lru_cache(maxsize=8)
def _draw_once(*arguments: int) -> tuple[NDArray[Any], ...]:
    return tuple(_draw(*arguments))


def _draw(questions: int, resamples: int, seed: int, stratum: int) -> Iterator[NDArray[Any]]:
    generator = np.random.default_rng([seed, stratum, questions])
    size = max(1, _BLOCK // questions)
    for start in range(0, resamples, size):
        some = min(size, resamples - start)
        drawn = generator.integers(questions, size=(some, questions))
        drawn += questions * np.arange(some)[:, None]  # each resample counts in places of its own
        times = np.bincount(drawn.ravel(), minlength=some * questions)
        yield times.reshape(some, questions).astype(np.float32)
