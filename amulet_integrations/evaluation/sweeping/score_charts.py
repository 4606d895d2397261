"""The geometry of the charts in a sweep's page, which are drawn without any library."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from amulet_integrations.evaluation.metrics.builtin_scores import note_of

from .strength_sweep import SweepData
from .sweep_table import (
    FAR_TICKS,
    LINEAR_WIDTH,
    ScoreLimit,
    axis_labels,
    is_far_apart,
    is_past_limit,
    score_limit,
    score_text,
    shown_scores,
)

LEFT, RIGHT, TOP, BOTTOM = 40.0, 250.0, 10.0, 156.0
"""The edges of the panel within a view box of 256 by 206 units."""

_MARGIN = 0.1  # of the range of values, above and below
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_TICKS = 4


class Mark(NamedTuple):
    """A strength in a chart.

    Attributes:
        x: Where it is.
        y: Where its value is.
        label: What stands below it; "" for nothing.
        strength: Its short name.
        value: Its value as text.
        whisker: The ends of the interval of its mean; None without an interval.
        recommended: Whether it is the recommended strength.
        past: Whether it exceeds the limit of the score.
    """

    x: float
    y: float
    label: str
    strength: str
    value: str
    whisker: tuple[float, float] | None
    recommended: bool
    past: bool


@dataclass(frozen=True)
class ScoreChart:
    """The means of a score by strength.

    Attributes:
        label: The name of the score.
        better: "higher" or "lower"; None where neither is better.
        marks: The strengths that have the score.
        ticks: The values at the left, each with its place.
        is_far_apart: Whether the scale is logarithmic away from 0.
        limit: Where the limit beside pref is; None where there is none.
        past: Where the values past the limit begin, and how high their band is.
    """

    label: str
    better: str | None
    marks: tuple[Mark, ...]
    ticks: tuple[tuple[float, str], ...]
    is_far_apart: bool
    limit: float | None = None
    past: tuple[float, float] = (0.0, 0.0)

    @property
    def line(self) -> str:
        """The points of the line through the marks, for SVG."""
        return " ".join(f"{mark.x:.1f},{mark.y:.1f}" for mark in self.marks)

    @property
    def summary(self) -> str:
        """The chart in words, for those who cannot see it."""
        values = ", ".join(f"{mark.strength} {mark.value}" for mark in self.marks)
        return f"{self.label}: {values}"


def score_charts(sweep: SweepData) -> list[ScoreChart]:
    """Returns a chart for each score that is shown."""
    return [_chart(sweep, score, score_limit(sweep, score)) for score in shown_scores(sweep)]


def _chart(sweep: SweepData, score: str, limit: ScoreLimit | None) -> ScoreChart:
    means = {point.method: point.scores.get(score) for point in sweep.strengths}
    values = [] if limit is None else [limit.value]
    for mean in means.values():
        if mean is not None:
            values += [it for it in (mean.mean, mean.low, mean.high) if it is not None]
    far = is_far_apart(sweep, score)
    axis = _Axis(values, is_far_apart=far)
    place = axis.place
    step = (RIGHT - LEFT) / len(sweep.strengths)
    labels = axis_labels(sweep)
    marks = []
    for number, point in enumerate(sweep.strengths):
        if (mean := means[point.method]) is None:
            continue
        ends = None
        if mean.low is not None and mean.high is not None:
            ends = place(mean.low), place(mean.high)
        marks.append(
            Mark(
                x=LEFT + step * (number + 0.5),
                y=place(mean.mean),
                label=labels[number],
                strength=point.label,
                value=score_text(score, mean.mean),
                whisker=ends,
                recommended=point is sweep.recommended,
                past=is_past_limit(point, score),
            )
        )
    note = note_of(score)
    ticks = tuple((place(value), text) for value, text in axis.ticks())
    if limit is None:
        return ScoreChart(note.label, note.better, tuple(marks), ticks, far)
    edge = place(limit.value)
    past = (TOP, edge - TOP) if limit.above else (edge, BOTTOM - edge)
    return ScoreChart(note.label, note.better, tuple(marks), ticks, far, edge, past)


class _Axis:
    """The vertical axis of a chart, with room above and below the values."""

    def __init__(self, values: list[float], *, is_far_apart: bool) -> None:
        self._is_far_apart = is_far_apart
        low, high = self._scaled(min(values)), self._scaled(max(values))
        room = (high - low) * _MARGIN or max(abs(high) * _MARGIN, _MARGIN)
        self._low, self._high = low - room, high + room

    def place(self, value: float) -> float:
        """Returns where a value is."""
        share = (self._scaled(value) - self._low) / (self._high - self._low)
        return BOTTOM - share * (BOTTOM - TOP)

    def ticks(self) -> list[tuple[float, str]]:
        """Returns round values between the ends, each with its text."""
        if self._is_far_apart:
            ends = self._low, self._high
            shown = [it for it in FAR_TICKS if ends[0] <= self._scaled(it) <= ends[1]]
            return [(value, f"{value:g}") for value in shown]
        span = self._high - self._low
        power = 10.0 ** math.floor(math.log10(span / _TICKS))
        step = next(it * power for it in _STEPS if span / (it * power) <= _TICKS)
        first, last = math.ceil(self._low / step), math.floor(self._high / step)
        values = [number * step for number in range(first, last + 1)]
        digits = max(0, 2 - math.floor(math.log10(step)))
        while digits and all(round(it, digits - 1) == round(it, digits) for it in values):
            digits -= 1
        return [(value, f"{value + 0.0:.{digits}f}") for value in values]

    def _scaled(self, value: float) -> float:
        return math.asinh(value / LINEAR_WIDTH) if self._is_far_apart else value
