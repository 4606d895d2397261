"""The plot of the frontier: what each point gains, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amulet_integrations.evaluation.analysis.frontier import Frontier, Point
from amulet_integrations.evaluation.analysis.statistics import Estimate

from . import plots

_FAR = 1.5  # nats; if a point costs more, the scales become logarithmic
_LINEAR = 0.5  # nats; logarithmic scales are linear up to here
_LABEL = (0.1, 0.045)  # the room of a label, in shares of the panel
_TICKS = [-5, -2, -1, -0.5, -0.25, 0, 0.25, 0.5, 1, 2, 5, 10, 20, 50]


def frontier_plot(frontier: Frontier) -> bytes:
    """Draws gain against cost of every point as PNG, with a ring around the recommended one.

    Points are labelled by guidance scale and bound. A line joins the Pareto-optimal points.
    """
    figure, (axes,) = plots.make_panels(1, 1, 4.8)
    reference, recommended, optimal = frontier.reference, frontier.recommended, frontier.optimal
    axes.axvspan(0.0, frontier.allowance, color=plots.MAIN, alpha=0.08, linewidth=0)
    axes.axvline(frontier.allowance, color=plots.MUTED, linestyle="--", linewidth=1)
    axes.plot(
        [point.cost.mean for point in optimal],
        [point.gain.mean for point in optimal],
        color=plots.MAIN,
        linewidth=1.4,
        alpha=0.7,
        label="no other point gains more for less",
    )
    _draw_points(axes, frontier.points, plots.MAIN)
    _draw_points(axes, [reference], plots.MUTED)
    if recommended is not None:
        ring = {"marker": "o", "markersize": 15, "markerfacecolor": "none", "markeredgewidth": 2}
        axes.plot(
            *(recommended.cost.mean, recommended.gain.mean),
            **ring,
            markeredgecolor=plots.WARM,
            linestyle="none",
            label=f"recommended: {plots.plot_label(recommended.method)}",
        )
    axes.legend(loc="lower right", frameon=False, fontsize=9, labelcolor=plots.INK)
    axes.margins(0.1)
    is_far = max((point.cost.mean for point in frontier.points), default=0.0) > _FAR
    if is_far:
        _set_log_scales(axes)
    first = [point for point in (recommended, *optimal) if point not in (None, reference)]
    for point in _without_overlaps(axes, [*first, *frontier.points]):
        scale, bound = point.strength
        name = f"{scale:.3g}" if bound is None else f"{scale:.3g}, kl {bound:g}"
        _draw_label(axes, point, name, offset=(-7, 7), align="right")
    name = plots.plot_label(reference.method)
    _draw_label(axes, reference, name, offset=(7, -14), align="left")
    scale_note = f" (logarithmic past {_LINEAR:g})" if is_far else ""
    axes.set_xlabel(f"cost: rise of -log P(answer | preference), nats per token{scale_note}")
    axes.set_ylabel(f"gain: rise of the preference ratio, nats per token{scale_note}")
    axes.grid(color=plots.GRID, linewidth=0.8)
    title = f"Guidance scale and bound, {frontier.preference or 'all preferences'}"
    return plots.to_png(figure, title)


def _draw_points(axes: Any, points: Sequence[Point], colour: str) -> None:
    """Draws points with their intervals in both directions."""
    costs, gains = [point.cost for point in points], [point.gain for point in points]
    axes.errorbar(
        [cost.mean for cost in costs],
        [gain.mean for gain in gains],
        xerr=_distances(costs),
        yerr=_distances(gains),
        fmt="o",
        markersize=6,
        color=colour,
        ecolor=plots.NEUTRAL,
        elinewidth=1,
        markeredgecolor=plots.BACKGROUND,
    )


def _distances(means: Sequence[Estimate]) -> list[list[float]]:
    """Returns how far the ends of intervals are below and above the means."""
    below = [0.0 if it.low is None else max(0.0, it.mean - it.low) for it in means]
    above = [0.0 if it.high is None else max(0.0, it.high - it.mean) for it in means]
    return [below, above]


def _without_overlaps(axes: Any, points: Sequence[Point]) -> list[Point]:
    """Returns the points whose labels do not overlap those of earlier points."""
    axes.get_xlim(), axes.get_ylim()  # this fixes the limits of the panel
    places = (axes.transData + axes.transAxes.inverted()).transform(
        [(point.cost.mean, point.gain.mean) for point in points]
    )
    width, height = _LABEL
    shown: list[Point] = []
    taken: list[tuple[float, float]] = []
    for point, (x, y) in zip(points, places, strict=True):
        if not any(abs(x - left) < width and abs(y - low) < height for left, low in taken):
            shown.append(point)
            taken.append((x, y))
    return shown


def _draw_label(axes: Any, point: Point, text: str, *, offset: tuple[int, int], align: str) -> None:
    place = (point.cost.mean, point.gain.mean)
    style = {"textcoords": "offset points", "fontsize": 9, "color": plots.INK}
    axes.annotate(text, place, xytext=offset, ha=align, **style)


def _set_log_scales(axes: Any) -> None:
    """Leaves room for near points if another point is far away."""
    from matplotlib.ticker import FixedLocator  # noqa: PLC0415 - optional

    axes.set_xscale("symlog", linthresh=_LINEAR, linscale=1.5)
    axes.set_yscale("symlog", linthresh=_LINEAR, linscale=1.5)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator(_TICKS))
        axis.set_major_formatter("{x:g}")
