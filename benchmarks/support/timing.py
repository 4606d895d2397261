"""Timing rivals in turn, so that the machine's moods fall on all of them."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self, TypeVar

T = TypeVar("T")

ROUNDS = 5
SECONDS = "seconds"
"""What is always measured of a rival's run: how long it took, or the part that it counts itself."""

Run = Callable[[], Mapping[str, float] | None]
"""A rival's run; it may return more that was measured on the way, by name."""

Rounds = Mapping[str, Mapping[str, Sequence[float]]]
"""Rival -> what was measured -> its value in every round."""


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        rounds: How often every rival has its turn.
        quick: Whether to try only that all works: the figures mean nothing then.
    """

    rounds: int = 3
    quick: bool = False

    def tokens(self, tokens: int) -> int:
        """How many tokens to decode where so many are wanted."""
        return min(tokens, 8) if self.quick else tokens

    def some(self, cases: Sequence[T]) -> Sequence[T]:
        """Which of some cases to measure."""
        return cases[:2] if self.quick else cases


FULL = Effort()
QUICK = Effort(rounds=1, quick=True)


class Figure(NamedTuple):
    """The median of several rounds, and what lies furthest from it on both sides."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """The figure of the values of all rounds."""
        values = list(values)
        return cls(statistics.median(values), min(values), max(values))

    @classmethod
    def ratio(cls, above: Sequence[float], below: Sequence[float]) -> Self:
        """Of what was measured in the same round."""
        return cls.of(a / b for a, b in zip(above, below, strict=True))

    @classmethod
    def rate(cls, amount: float, seconds: Sequence[float]) -> Self:
        """Of so much done in each of the times."""
        return cls.of(amount / s for s in seconds)


Figures = Mapping[str, Figure | float]


def timed_rounds(rivals: Mapping[str, Run], rounds: int, *, warm_up: bool = True) -> Rounds:
    """Runs all rivals in turn, `rounds` times, after one run of each to warm up."""
    measured: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in rivals}
    if warm_up:
        for run in rivals.values():
            run()
    for _ in range(rounds):
        for name, run in rivals.items():
            started = time.perf_counter()
            more = run() or {}
            seconds = time.perf_counter() - started
            for what, value in {SECONDS: seconds, **more}.items():
                measured[name][what].append(value)
    return measured


def median_seconds(
    rivals: Mapping[str, Callable[[], object]], rounds: int = ROUNDS
) -> dict[str, float]:
    """Runs every rival once to warm up, then all of them in turn, `rounds` times.

    Returns:
        Each rival's median, in seconds.
    """

    def silent(run: Callable[[], object]) -> Run:
        def silently() -> None:
            run()

        return silently

    measured = timed_rounds({name: silent(run) for name, run in rivals.items()}, rounds)
    return {name: statistics.median(of[SECONDS]) for name, of in measured.items()}


def nearly_all(values: Sequence[float]) -> float:
    """The 95th percentile; 0 of no values."""
    return sorted(values)[int(0.95 * len(values))] if values else 0.0
