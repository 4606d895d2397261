"""A picture of what strength gains and costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amulet_integrations.evaluation.reporting.plots import (
    LIGHT,
    Theme,
    heading,
    panels,
    plot_label,
    png,
)
from amulet_integrations.evaluation.statistics import Estimate
from amulet_integrations.evaluation.trade_off import Strength, TradeOff


def trade_off_plot(curve: TradeOff, theme: Theme = LIGHT) -> bytes:
    """The preference ratio against fluency over strengths, with the recommended one, as PNG."""
    picture, (axes,) = panels(1, 1, 4.6, theme)
    points, reference = curve.strengths, curve.reference
    limit = reference.fluency.mean + curve.allowance
    axes.axvspan(reference.fluency.mean, limit, color=theme.main, alpha=0.08, linewidth=0)
    axes.axvline(limit, color=theme.muted, linestyle="--", linewidth=1)
    _mark(axes, points, theme.main, theme)
    axes.plot(
        [point.fluency.mean for point in (reference, *points)],
        [point.ratio.mean for point in (reference, *points)],
        color=theme.main,
        linewidth=1.4,
        alpha=0.7,
    )
    _mark(axes, [reference], theme.muted, theme)
    _label(axes, reference, plot_label(reference.method), theme)
    for point in _apart(points, curve.recommended):
        _label(axes, point, str(point.iterations), theme)
    if curve.recommended is not None:
        axes.plot(
            *(curve.recommended.fluency.mean, curve.recommended.ratio.mean),
            marker="o",
            markersize=15,
            markerfacecolor="none",
            markeredgecolor=theme.warm,
            markeredgewidth=2,
            linestyle="none",
            label=f"recommended: {plot_label(curve.recommended.method)}",
        )
        legend = axes.legend(loc="lower right", frameon=False, fontsize=9)
        for text in legend.get_texts():
            text.set_color(theme.ink)
    axes.margins(0.08)
    axes.set_xlabel("fluency: negative log-likelihood without the preference, nats per token")
    axes.set_ylabel("preference ratio, nats per token")
    axes.grid(color=theme.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    title = f"Strength of Amulet in iterations, {curve.preference or 'all preferences'}"
    picture.suptitle(plot_label(title, 80), **heading(theme))
    return png(picture, theme)


def _mark(axes: Any, points: Sequence[Strength], colour: str, theme: Theme) -> None:
    """Points with an interval in both directions."""
    x, y = ([getattr(p, name) for p in points] for name in ("fluency", "ratio"))
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


def _apart(points: Sequence[Strength], always: Strength | None) -> list[Strength]:
    """The points whose labels do not lie on each other, from the weakest on, and one more."""
    spans = [
        max(getattr(p, name).mean for p in points) - min(getattr(p, name).mean for p in points)
        for name in ("fluency", "ratio")
    ]
    shown: list[Strength] = [] if always is None else [always]
    for point in points:
        near = any(
            abs(point.fluency.mean - other.fluency.mean) < 0.04 * (spans[0] or 1)
            and abs(point.ratio.mean - other.ratio.mean) < 0.06 * (spans[1] or 1)
            for other in shown
        )
        if not near:
            shown.append(point)
    return shown


def _label(axes: Any, point: Strength, text: str, theme: Theme) -> None:
    axes.annotate(
        text,
        (point.fluency.mean, point.ratio.mean),
        xytext=(-7, 7),
        textcoords="offset points",
        ha="right",
        fontsize=9,
        color=theme.ink,
    )
