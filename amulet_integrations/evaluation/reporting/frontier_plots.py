"""A picture of what guidance gains and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amulet_integrations.evaluation.analysis.frontier import Frontier, Point
from amulet_integrations.evaluation.analysis.statistics import Estimate
from amulet_integrations.evaluation.reporting.plots import (
    LIGHT,
    Theme,
    heading,
    panels,
    plot_label,
    png,
)

_FAR = 1.5  # nats: a point that costs more would leave the others no room
_LABEL = (0.1, 0.045)  # room that a label takes, in shares of the panel
_TICKS = [-5, -2, -1, -0.5, -0.25, 0, 0.25, 0.5, 1, 2, 5, 10, 20, 50]
_NEAR = 0.5  # nats, from which on scales are logarithmic then


def frontier_plot(frontier: Frontier, theme: Theme = LIGHT) -> bytes:
    """Gain against cost of every point, with the recommended one marked, as PNG.

    Points are labelled by their guidance scale and their bound, and a line joins those that no
    other point beats in both.
    """
    picture, (axes,) = panels(1, 1, 4.8, theme)
    reference, recommended, optimal = frontier.reference, frontier.recommended, frontier.optimal
    axes.axvspan(0.0, frontier.allowance, color=theme.main, alpha=0.08, linewidth=0)
    axes.axvline(frontier.allowance, color=theme.muted, linestyle="--", linewidth=1)
    axes.plot(
        [point.cost.mean for point in optimal],
        [point.gain.mean for point in optimal],
        color=theme.main,
        linewidth=1.4,
        alpha=0.7,
        label="no other point gains more for less",
    )
    _mark(axes, frontier.points, theme.main, theme)
    _mark(axes, [reference], theme.muted, theme)
    if recommended is not None:
        axes.plot(
            *(recommended.cost.mean, recommended.gain.mean),
            marker="o",
            markersize=15,
            markerfacecolor="none",
            markeredgecolor=theme.warm,
            markeredgewidth=2,
            linestyle="none",
            label=f"recommended: {plot_label(recommended.method)}",
        )
    legend = axes.legend(loc="lower right", frameon=False, fontsize=9)
    for text in legend.get_texts():
        text.set_color(theme.ink)
    axes.margins(0.1)
    far = max((point.cost.mean for point in frontier.points), default=0.0) > _FAR
    if far:
        _shorten(axes)
    first = [point for point in (recommended, *optimal) if point not in (None, reference)]
    for point in _apart(axes, [*first, *frontier.points]):
        _label(axes, point, _name(point), theme)
    _label(axes, reference, plot_label(reference.method), theme, below=True)
    scale = f" (logarithmic past {_NEAR:g})" if far else ""
    axes.set_xlabel(f"cost: rise of -log P(answer | preference), nats per token{scale}")
    axes.set_ylabel(f"gain: rise of the preference ratio, nats per token{scale}")
    axes.grid(color=theme.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    title = f"Guidance scale and bound, {frontier.preference or 'all preferences'}"
    picture.suptitle(plot_label(title, 80), **heading(theme))
    return png(picture, theme)


def _name(point: Point) -> str:
    """Such as "2, kl 0.2"; without a bound the guidance scale alone."""
    scale, bound = point.strength
    return f"{scale:.3g}" if bound is None else f"{scale:.3g}, kl {bound:g}"


def _mark(axes: Any, points: Sequence[Point], colour: str, theme: Theme) -> None:
    """Points with an interval in both directions."""
    x, y = ([getattr(p, name) for p in points] for name in ("cost", "gain"))
    axes.errorbar(
        [mean.mean for mean in x],
        [mean.mean for mean in y],
        xerr=_reach(x),
        yerr=_reach(y),
        fmt="o",
        markersize=6,
        color=colour,
        ecolor=theme.neutral,
        elinewidth=1,
        markeredgecolor=theme.background,
    )


def _reach(means: Sequence[Estimate]) -> list[list[float]]:
    below = [0.0 if mean.low is None else max(0.0, mean.mean - mean.low) for mean in means]
    above = [0.0 if mean.high is None else max(0.0, mean.high - mean.mean) for mean in means]
    return [below, above]


def _apart(axes: Any, points: Sequence[Point]) -> list[Point]:
    """The points whose labels do not lie on each other; earlier ones go first."""
    axes.get_xlim(), axes.get_ylim()  # which settles them
    places = (axes.transData + axes.transAxes.inverted()).transform(
        [(point.cost.mean, point.gain.mean) for point in points]
    )
    shown: list[int] = []
    for index, (x, y) in enumerate(places):
        if not any(
            abs(x - places[other][0]) < _LABEL[0] and abs(y - places[other][1]) < _LABEL[1]
            for other in shown
        ):
            shown.append(index)
    return [points[index] for index in shown]


def _label(axes: Any, point: Point, text: str, theme: Theme, *, below: bool = False) -> None:
    axes.annotate(
        text,
        (point.cost.mean, point.gain.mean),
        xytext=(7, -14) if below else (-7, 7),
        textcoords="offset points",
        ha="left" if below else "right",
        fontsize=9,
        color=theme.ink,
    )


def _shorten(axes: Any) -> None:
    """Leaves room for what is near, where something is far away."""
    from matplotlib.ticker import FixedLocator  # noqa: PLC0415 - optional

    axes.set_xscale("symlog", linthresh=_NEAR, linscale=1.5)
    axes.set_yscale("symlog", linthresh=_NEAR, linscale=1.5)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator(_TICKS))
        axis.set_major_formatter("{x:g}")
