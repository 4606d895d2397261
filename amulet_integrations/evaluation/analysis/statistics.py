"""Means with intervals, and tests between methods; questions are the unit of both.

The answers to one question, under several preferences, resemble one another. So whole questions
are drawn again, and whole questions change sides, never single answers.
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

_EXACT = 13  # questions up to which every way to flip them is tried
_ROUNDING = 1e-12
_HELD = 1 << 21  # numbers in memory at once: those of 2000 resamples of 1000 questions


@dataclass(frozen=True)
class Estimate:
    """A mean and how sure it is.

    Attributes:
        mean: The mean.
        low: Where its interval begins; None where one question alone tells nothing about others.
        high: Where it ends.
        questions: How many questions it is the mean of.
        values: How many answers; fewer than there are where a score does not apply to some.
    """

    mean: float
    low: float | None
    high: float | None
    questions: int
    values: int


def estimate(
    samples: Iterable[Sample],
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate | None:
    """The mean of the data sets' means, with its bootstrap interval (percentiles).

    Args:
        samples: One for each data set. Questions are drawn again within their data set.
        level: How much of the bootstrap's means lie in the interval.
        resamples: How often questions are drawn.
        seed: The same seed gives the same interval.

    Returns:
        The mean; None where there is no value.
    """
    totals = [_totals(sample) for sample in samples]
    totals = [(sums, counts) for sums, counts in totals if len(sums)]
    if not totals:
        return None
    mean = float(np.mean([sums.sum() / counts.sum() for sums, counts in totals]))
    questions = sum(len(sums) for sums, _ in totals)
    values = int(sum(counts.sum() for _, counts in totals))
    if all(len(sums) == 1 for sums, _ in totals):
        return Estimate(mean, None, None, questions, values)
    drawn = np.zeros(resamples)
    for stratum, (sums, counts) in enumerate(totals):
        blocks = _times_drawn(len(sums), resamples, seed, stratum)
        drawn += np.concatenate([(times @ sums) / (times @ counts) for times in blocks])
    tail = (1 - level) / 2
    low, high = np.quantile(drawn / len(totals), [tail, 1 - tail])
    return Estimate(mean, float(low), float(high), questions, values)


def sign_flip_p_value(
    differences: Iterable[Sample], *, flips: int = FLIPS, seed: int = 0
) -> float | None:
    """Tests whether the mean of paired differences is zero, by a permutation test, two-sided.

    Were the two methods alike, each question could as well have had its differences the other way
    round. The p-value is the share of such worlds with a mean as far from zero as the one seen:
    of all of them up to 13 questions, otherwise of many drawn at random and the one seen.

    Args:
        differences: One sample for each data set; data sets have equal weight.
        flips: How many worlds are drawn, where there are too many to try each.
        seed: The same seed gives the same p-value.

    Returns:
        The p-value; None where there is no difference to test.
    """
    parts = _contributions(differences)
    if not len(parts):
        return None
    seen = abs(parts.sum()) - _ROUNDING * np.abs(parts).sum()
    if len(parts) <= _EXACT:
        numbers = np.arange(2 ** len(parts))[:, None]
        signs = 1.0 - 2.0 * (numbers >> np.arange(len(parts)) & 1)
        return float(np.mean(np.abs(signs @ parts) >= seen))
    generator = np.random.default_rng(seed)
    at_least = 0
    size = max(1, _HELD // len(parts))
    for start in range(0, flips, size):
        signs = generator.choice([-1.0, 1.0], size=(min(size, flips - start), len(parts)))
        at_least += int((np.abs(signs @ parts) >= seen).sum())
    return (at_least + 1) / (flips + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrects p-values for having made so many tests (Holm 1979); the order is kept."""
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def _totals(sample: Sample) -> tuple[NDArray[Any], NDArray[Any]]:
    """For each question that has values their sum and their number."""
    values = [held for held in sample.values() if held]
    return np.array([sum(held) for held in values]), np.array([float(len(v)) for v in values])


def _contributions(samples: Iterable[Sample]) -> NDArray[Any]:
    """What each question adds to the mean of the data sets' means."""
    totals = [_totals(sample) for sample in samples]
    parts = [sums / counts.sum() for sums, counts in totals if len(sums)]
    return np.concatenate(parts) / len(parts) if parts else np.zeros(0)


def _times_drawn(questions: int, resamples: int, seed: int, stratum: int) -> Iterable[NDArray[Any]]:
    """How often each question is drawn, in blocks of shape (some resamples, questions).

    All means of equally many questions share these: a table has hundreds of them.
    """
    if questions * resamples > _HELD:
        return _draw(questions, resamples, seed, stratum)
    return _drawn_once(questions, resamples, seed, stratum)


@lru_cache(maxsize=8)
def _drawn_once(
    questions: int, resamples: int, seed: int, stratum: int
) -> tuple[NDArray[Any], ...]:
    return tuple(_draw(questions, resamples, seed, stratum))


def _draw(questions: int, resamples: int, seed: int, stratum: int) -> Iterator[NDArray[Any]]:
    generator = np.random.default_rng([seed, stratum, questions])
    size = max(1, _HELD // questions)
    for start in range(0, resamples, size):
        some = min(size, resamples - start)
        drawn = generator.integers(questions, size=(some, questions))
        drawn += questions * np.arange(some)[:, None]  # each resample has places of its own
        times = np.bincount(drawn.ravel(), minlength=some * questions)
        yield times.reshape(some, questions).astype(np.float32)
