"""The report's pictures, one idea each."""

from __future__ import annotations

import hashlib
import io
import math
import re
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from amulet_integrations.errors import MissingDependencyError
from amulet_integrations.evaluation.judging import WinCount
from amulet_integrations.evaluation.reporting.characters import plot_label
from amulet_integrations.evaluation.reporting.comparison_tables import judges_of
from amulet_integrations.evaluation.reporting.tables import ALL, ScoreTable
from amulet_integrations.evaluation.score_notes import note_of
from amulet_integrations.evaluation.statistics import Estimate
from amulet_integrations.evaluation.trade_off import Strength, TradeOff

_WIDTH = 8.0
_PANELS = 3  # side by side
_DPI = 150
_NAME = 60  # characters of a score that name a file
_LEAST_SHARE = 0.06  # of a bar's length that holds its number


@dataclass(frozen=True)
class Theme:
    """Colours that go with a page's background."""

    background: str
    ink: str
    muted: str
    grid: str
    main: str
    warm: str
    neutral: str


LIGHT = Theme("#ffffff", "#1c2430", "#5b6675", "#dfe4ea", "#2f6fb7", "#c9562b", "#b4bcc7")
DARK = Theme("#171c24", "#e4e9f0", "#9aa6b5", "#2f3844", "#6ea8e6", "#ec8a5e", "#5a6675")


def check_plots() -> None:
    """Finds out whether plots can be drawn.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise MissingDependencyError.for_extra("matplotlib", "evaluation")


def score_plot_name(score: str) -> str:
    """What the picture of a score is called: a file's name, each score's its own."""
    safe = re.sub(r"[^a-z0-9_.-]", "_", score)[:_NAME]
    if safe != score:
        safe += f"-{hashlib.sha256(score.encode(errors='surrogatepass')).hexdigest()[:8]}"
    return f"scores-{safe}"


def score_plot(table: ScoreTable, theme: Theme = LIGHT, *, coloured: Collection[str] = ()) -> bytes:
    """A score's averages by method with their intervals, a panel for each preference, as PNG.

    Args:
        table: The averages.
        theme: The colours.
        coloured: The names of the methods to look at, Amulet's.
    """
    panels = [
        (block.preference or ALL, [(row.method, row.average) for row in block.rows])
        for block in table.blocks
    ]
    note = note_of(table.score)
    methods = len(table.blocks[0].rows) if table.blocks else 0
    rows = math.ceil(len(panels) / _PANELS)
    columns = min(len(panels), _PANELS)
    picture, grid = _panels(rows, columns, 0.9 + 0.3 * methods, theme)
    for axes, (title, found) in zip(grid, panels, strict=False):
        _dots(axes, found, theme, coloured)
        axes.set_title(plot_label(title), fontsize=10, color=theme.ink, loc="left")
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    picture.suptitle(plot_label(_titled(note.label, note.better), 80), **_heading(theme))
    return _png(picture, theme)


def trade_off_plot(curve: TradeOff, theme: Theme = LIGHT) -> bytes:
    """The preference ratio against fluency over strengths, with the recommended one, as PNG."""
    picture, (axes,) = _panels(1, 1, 4.6, theme)
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
    picture.suptitle(plot_label(title, 80), **_heading(theme))
    return _png(picture, theme)


def win_plot(counts: Sequence[WinCount], theme: Theme = LIGHT) -> bytes:
    """Wins, ties and losses of each two methods, a panel for each judge, as PNG."""
    judges = judges_of(counts)
    panels = [[count for count in counts if count.judge == judge] for judge in judges]
    height = 1.3 + 0.42 * max(map(len, panels))
    picture, grid = _panels(len(judges), 1, height, theme, alike=False)
    picture.get_layout_engine().set(h_pad=0.12)
    for axes, judge, held in zip(grid, judges, panels, strict=True):
        _win_bars(axes, held, theme)
        if judge:
            title = plot_label(f"judged by {judge}", 60)
            axes.set_title(title, fontsize=10, color=theme.ink, loc="left")
    grid[-1].set_xlabel("share of the judged pairs; numbers are pairs")
    handles, names = grid[0].get_legend_handles_labels()
    legend = picture.legend(
        handles, names, loc="outside upper right", ncols=3, frameon=False, fontsize=9
    )
    for text in legend.get_texts():
        text.set_color(theme.ink)
    return _png(picture, theme)


def _win_bars(axes: Any, counts: Sequence[WinCount], theme: Theme) -> None:
    several = len({count.preference for count in counts}) > 1
    labels = [
        f"{plot_label(count.method)} against {plot_label(count.against)}"
        + (f", {plot_label(count.preference or ALL)}" if several else "")
        for count in counts
    ]
    start = [0.0] * len(counts)
    kinds = (
        ("win", "wins", theme.main, theme.background),
        ("tie", "ties", theme.neutral, theme.ink),
        ("lose", "losses", theme.warm, theme.background),
    )
    for label, field, colour, ink in kinds:
        numbers = [getattr(count, field) for count in counts]
        shares = [
            number / max(1, count.wins + count.ties + count.losses)
            for number, count in zip(numbers, counts, strict=True)
        ]
        places = range(len(counts))
        bars = axes.barh(places, shares, left=start, color=colour, label=label, height=0.7)
        shown = [
            str(number) if share >= _LEAST_SHARE else ""
            for number, share in zip(numbers, shares, strict=True)
        ]
        axes.bar_label(bars, shown, label_type="center", color=ink, fontsize=9)
        start = [left + share for left, share in zip(start, shares, strict=True)]
    axes.set_yticks(range(len(counts)), labels)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}%")
    axes.axvline(0.5, color=theme.ink, linewidth=0.8, linestyle=":")


def _dots(
    axes: Any,
    found: Sequence[tuple[str, Estimate | None]],
    theme: Theme,
    coloured: Collection[str],
) -> None:
    for place, (method, mean) in enumerate(found):
        if mean is None:
            continue
        colour = theme.main if method in coloured else theme.muted
        if mean.low is not None and mean.high is not None:
            axes.plot([mean.low, mean.high], [place, place], color=colour, linewidth=2.2, alpha=0.6)
        axes.plot(mean.mean, place, marker="o", markersize=6, color=colour)
    axes.set_yticks(range(len(found)), [plot_label(method) for method, _ in found])
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.locator_params(axis="x", nbins=4)
    axes.grid(axis="x", color=theme.grid, linewidth=0.8)
    axes.set_axisbelow(True)


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


def _titled(label: str, better: str | None) -> str:
    return label if better is None else f"{label} ({better} is better)"


def _heading(theme: Theme) -> dict[str, Any]:
    return {"fontsize": 12, "fontweight": "bold", "color": theme.ink, "x": 0.02, "ha": "left"}


def _panels(
    rows: int, columns: int, height: float, theme: Theme, *, alike: bool = True
) -> tuple[Any, list[Any]]:
    check_plots()
    # Not pyplot: it keeps every picture, and looks for a screen.
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    picture = Figure(figsize=(_WIDTH, rows * height), layout="constrained")
    FigureCanvasAgg(picture)
    grid = picture.subplots(rows, columns, squeeze=False, sharex=alike, sharey=alike)
    for axes in grid.flat:
        axes.set_facecolor(theme.background)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["bottom", "left"]].set_color(theme.muted)
        axes.tick_params(colors=theme.ink, labelsize=9, labelbottom=True)
        axes.xaxis.label.set(color=theme.ink, fontsize=9)
        axes.yaxis.label.set(color=theme.ink, fontsize=9)
    return picture, list(grid.flat)


def _png(picture: Any, theme: Theme) -> bytes:
    held = io.BytesIO()
    with warnings.catch_warnings():
        # A box stands for it, and nobody who runs a command can do more.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        picture.savefig(held, format="png", dpi=_DPI, facecolor=theme.background)
    return held.getvalue()
