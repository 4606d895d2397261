"""The plot of a sweep: every score by strength, with the limits and the recommended one."""

from __future__ import annotations

import math
from textwrap import fill
from typing import Any

from amulet_integrations.evaluation.data.record_types import shorten
from amulet_integrations.evaluation.metrics.builtin_scores import WORDS, note_of
from amulet_integrations.evaluation.reporting import plots

from .strength_sweep import SweepData
from .sweep_table import (
    FAR_TICKS,
    LINEAR_WIDTH,
    axis_labels,
    bound_text,
    is_far_apart,
    is_past_limit,
    score_limit,
    shown_scores,
)

_COLUMNS = 3
_HEIGHT = 2.35
_CROWDED = 4  # more names than these are written aslant
_LINE = 40  # characters of a line of the text


def sweep_plot(sweep: SweepData) -> bytes:
    """Draws a panel for each score as PNG, and says in words what is recommended.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    plots.check_plots()
    scores = shown_scores(sweep)
    rows = math.ceil((len(scores) + 1) / _COLUMNS)
    figure, panels = plots.make_panels(rows, _COLUMNS, _HEIGHT, same_scales=False)
    figure.get_layout_engine().set(h_pad=0.1, w_pad=0.08)
    for axes, score in zip(panels, scores, strict=False):
        _draw_score(axes, sweep, score)
    for axes in panels[len(scores) :]:
        axes.set_axis_off()
    _write_words(panels[len(scores)], sweep)
    return plots.to_png(figure, _title(sweep))


def _draw_score(axes: Any, sweep: SweepData, score: str) -> None:
    strengths, note = sweep.strengths, note_of(score)
    places = [place for place, point in enumerate(strengths) if score in point.scores]
    means = [strengths[place].scores[score] for place in places]
    axes.plot(places, [mean.mean for mean in means], color=plots.MAIN, linewidth=1.6, alpha=0.55)
    for place, mean in zip(places, means, strict=True):
        if mean.low is not None and mean.high is not None:
            ends = [mean.low, mean.high]
            axes.plot([place, place], ends, color=plots.MAIN, linewidth=1.8, alpha=0.35)
        colour = plots.WARM if is_past_limit(strengths[place], score) else plots.MAIN
        axes.plot(place, mean.mean, marker="o", markersize=5.5, color=colour)
        if strengths[place] is sweep.recommended:
            ring = {"marker": "o", "markersize": 12, "markerfacecolor": "none"}
            axes.plot(place, mean.mean, **ring, markeredgecolor=plots.MAIN, markeredgewidth=1.6)
    axes.margins(y=0.16)
    if is_far_apart(sweep, score):
        _spread_scale(axes)
    if (limit := score_limit(sweep, score)) is not None:
        axes.axhline(limit.value, color=plots.WARM, linestyle="--", linewidth=1)
        low, high = axes.get_ylim()
        edges = (limit.value, high) if limit.above else (low, limit.value)
        axes.axhspan(*edges, color=plots.WARM, alpha=0.08, linewidth=0)
        axes.set_ylim(low, high)
    names = [plots.plot_label(label, 18) for label in axis_labels(sweep)]
    turned = {"rotation": 35, "ha": "right"} if len(names) > _CROWDED else {}
    axes.set_xticks(range(len(names)), names, **turned)
    axes.set_xlim(-0.5, len(names) - 0.5)
    if not is_far_apart(sweep, score):
        axes.locator_params(axis="y", nbins=4, integer=score == WORDS)
    axes.grid(axis="y", color=plots.GRID, linewidth=0.8)
    plots.set_title(axes, note.label + (f" ({note.better} is better)" if note.better else ""))


def _spread_scale(axes: Any) -> None:
    """Leaves room for near values where one is far away."""
    from matplotlib.ticker import FixedLocator, NullLocator  # noqa: PLC0415 - optional

    axes.set_yscale("asinh", linear_width=LINEAR_WIDTH)
    axes.yaxis.set_major_locator(FixedLocator(FAR_TICKS))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")


def _write_words(axes: Any, sweep: SweepData) -> None:
    """Writes in a panel of its own what is recommended, and on what it rests."""
    found = sweep.recommended
    head, below = "nothing recommended", ""
    if found is not None:
        head = f"recommended: {plots.plot_label(found.label)}"
        below = f"scale {found.strength.guidance_scale:.3g}, {bound_text(found)}\n"
    style = {"transform": axes.transAxes, "va": "top", "ha": "left"}
    axes.text(0.04, 0.98, head, **style, color=plots.MAIN, fontsize=10.5, fontweight="bold")
    words = below + fill(sweep.basis or sweep.recommendation, _LINE)
    axes.text(0.04, 0.82, words, **style, color=plots.MUTED, fontsize=8.5, linespacing=1.5)


def _title(sweep: SweepData) -> str:
    questions = {answer.question for answer in sweep.evaluation.answers}
    what = questions.pop() if len(questions) == 1 else f"{sweep.questions} questions"
    preferences = ", ".join(it.name for it in sweep.evaluation.preferences)
    return f"{shorten(what, 44)} · {shorten(preferences, 34)}"
