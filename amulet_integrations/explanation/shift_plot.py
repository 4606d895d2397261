"""The shift of each token along an answer, and the strength that was used, as paths of an SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from .explained_tokens import ExplanationData
from .wording import whole_nats

HEIGHT = 100
"""Units of the height of the plot; its width is one unit a token."""

_STEPS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0)
_MOST_TICKS = 6
_BAR = 0.8
_MOST_PLACES = 8


@dataclass(frozen=True, slots=True)
class Tick:
    """A line of a scale.

    Attributes:
        text: What stands at it.
        share: Where it is, in percent of the axis from the top or from the left.
    """

    text: str
    share: float


@dataclass(frozen=True, slots=True)
class ShiftPlot:
    """A plot whose parts scale to any size.

    Attributes:
        width: Its width in units; its height is `HEIGHT`.
        likelier: The bars above the line of 0, as an SVG path.
        less_likely: Those below it.
        strength: The strength of each token, as the path of a line; "" where all had the same.
        values: Ticks of the shift, in nats, from the top.
        places: Ticks of the tokens, counted from 1.
        strengths: Ticks of the strength, from the top.
    """

    width: int
    likelier: str
    less_likely: str
    strength: str
    values: tuple[Tick, ...]
    places: tuple[Tick, ...]
    strengths: tuple[Tick, ...]


def draw_shifts(explanation: ExplanationData) -> ShiftPlot:
    """Draws the plot of an explanation."""
    shifts = [token.shift for token in explanation.tokens]
    finite = [shift for shift in shifts if math.isfinite(shift)]
    top, bottom = max([1.0, *finite]), min([0.0, *finite])
    step = next((it for it in _STEPS if (top - bottom) / it <= _MOST_TICKS), _STEPS[-1])
    top, bottom = math.ceil(top / step) * step, math.floor(bottom / step) * step
    scales = [token.guidance_scale for token in explanation.tokens]
    low, high = min([0.0, *scales]), max([1.0, explanation.guidance_scale, *scales])
    count = round((top - bottom) / step)
    return ShiftPlot(
        width=max(1, len(shifts)),
        likelier="".join(_bars([min(shift, top) for shift in shifts], top, bottom, sign=1)),
        less_likely="".join(_bars([max(shift, bottom) for shift in shifts], top, bottom, sign=-1)),
        strength="".join(_line(scales, high, low)) if len({*map(_short, scales)}) > 1 else "",
        values=tuple(
            Tick(whole_nats(top - at * step), 100 * at / count) for at in range(count + 1)
        ),
        places=tuple(_places(len(shifts))),
        strengths=tuple(
            Tick(f"{value:.3g}", _down(value, high, low))
            for value in sorted({low, explanation.guidance_scale, high}, reverse=True)
        ),
    )


def _bars(shifts: Sequence[float], top: float, bottom: float, *, sign: int) -> Iterator[str]:
    zero = _down(0.0, top, bottom)
    for at, shift in enumerate(shifts):
        if shift * sign > 0.0:
            end = _short(_down(shift, top, bottom))
            yield f"M{at + (1 - _BAR) / 2:.1f} {_short(zero)}h{_BAR}V{end}h-{_BAR}z"


def _line(scales: Sequence[float], top: float, bottom: float) -> Iterator[str]:
    at = 0
    for scale, same in groupby(map(_short, (_down(it, top, bottom) for it in scales))):
        yield f"{'V' if at else 'M0 '}{scale}"
        at += len(list(same))
        yield f"H{at}"


def _down(value: float, top: float, bottom: float) -> float:
    """Where a value is, from the top."""
    return HEIGHT * (top - value) / (top - bottom)


def _short(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _places(count: int) -> Iterator[Tick]:
    step = next((it for it in _STEPS if count / it <= _MOST_PLACES), _STEPS[-1])
    for place in [1, *range(int(step), count + 1, int(step))]:
        if place == 1 or step > 1:
            yield Tick(f"{place:,}", 100 * (place - 0.5) / max(1, count))
