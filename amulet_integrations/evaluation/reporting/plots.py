"""The plots of scores and of judged pairs, and what all plots of a report share."""

from __future__ import annotations

import hashlib
import io
import math
import re
import warnings
from collections.abc import Collection, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from amulet_integrations.errors import MissingDependencyError
from amulet_integrations.evaluation.data.record_types import group_by, shorten
from amulet_integrations.evaluation.judging.win_counts import WinCount
from amulet_integrations.evaluation.metrics.builtin_scores import note_of
from amulet_integrations.terminal_text import safe

from .score_tables import ALL, ScoreRow, ScoreTable

SCORE_PLOT = "scores-"
"""The beginning of the file names of score plots."""

BACKGROUND = "#ffffff"
INK = "#1c2430"
MUTED = "#5b6675"
GRID = "#dfe4ea"
MAIN = "#2f6fb7"
WARM = "#c9562b"
NEUTRAL = "#b4bcc7"

_SOFTWARE = "amulet-integrations evaluation"  # in the metadata of every plot
_WIDTH = 8.0
_DPI = 150
_COLUMNS = 3  # of panels
_LONGEST_NAME = 60  # characters of a score in a file name
_LEAST_SHARE = 0.06  # of a bar that has room for its number


def check_plots() -> None:
    """Checks that plots can be drawn.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise MissingDependencyError.for_extra("matplotlib", "evaluation")


def score_plot_name(score: str) -> str:
    """Returns the file name of a score's plot without its ending, different for each score."""
    name = re.sub(r"[^a-z0-9_.-]", "_", score)[:_LONGEST_NAME]
    if name != score:
        name += f"-{hashlib.sha256(score.encode(errors='surrogatepass')).hexdigest()[:8]}"
    return f"{SCORE_PLOT}{name}"


def score_plot(table: ScoreTable, *, coloured: Collection[str] = ()) -> bytes:
    """Draws the averages of a score by method with their intervals, as PNG.

    There is a panel for each preference. An average that lacks a data set is a hollow dot.

    Args:
        table: The averages.
        coloured: The names of the methods to highlight.
    """
    blocks = table.blocks
    note = note_of(table.score)
    rows = math.ceil(len(blocks) / _COLUMNS)
    height = 0.9 + 0.3 * len(blocks[0].rows)
    figure, panels = make_panels(rows, min(len(blocks), _COLUMNS), height)
    for axes, block in zip(panels, blocks, strict=False):
        _draw_dots(axes, block.rows, coloured)
        set_title(axes, plot_label(block.preference or ALL))
    for axes in panels[len(blocks) :]:
        axes.set_visible(False)
    better = "" if note.better is None else f" ({note.better} is better)"
    return to_png(figure, note.label + better)


def win_plot(counts: Sequence[WinCount]) -> bytes:
    """Draws wins, ties and losses of each two methods as PNG, with a panel for each judge.

    Args:
        counts: The counts over all preferences.
    """
    groups = group_by(counts, lambda count: count.judge)
    height = 1.3 + 0.42 * max(map(len, groups.values()))
    figure, panels = make_panels(len(groups), 1, height, same_scales=False)
    figure.get_layout_engine().set(h_pad=0.12)
    for axes, (judge, group) in zip(panels, groups.items(), strict=True):
        _draw_bars(axes, group)
        if judge:
            set_title(axes, plot_label(f"judged by {judge}", 60))
    panels[-1].set_xlabel("share of the judged pairs; numbers are pairs")
    handles, names = panels[0].get_legend_handles_labels()
    place = {"loc": "outside upper right", "ncols": 3, "frameon": False, "fontsize": 9}
    figure.legend(handles, names, labelcolor=INK, **place)
    return to_png(figure)


def plot_label(text: str, longest: int = 28) -> str:
    """Returns a short label in which dollar signs do not begin a formula."""
    return shorten(safe(text), longest).replace("$", r"\$")


def make_panels(
    rows: int, columns: int, height: float, *, same_scales: bool = True
) -> tuple[Any, list[Any]]:
    """Makes a figure and its panels, row by row.

    Args:
        rows: The number of rows of panels.
        columns: The number of panels in a row.
        height: The height of a row, in inches.
        same_scales: Whether all panels have the same scales.
    """
    # Not pyplot, which keeps every figure and looks for a screen.
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(_WIDTH, rows * height), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=same_scales, sharey=same_scales)
    for axes in grid.flat:
        axes.set(facecolor=BACKGROUND, axisbelow=True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["bottom", "left"]].set_color(MUTED)
        axes.tick_params(colors=INK, labelsize=9, labelbottom=True)
        axes.xaxis.label.set(color=INK, fontsize=9)
        axes.yaxis.label.set(color=INK, fontsize=9)
    return figure, list(grid.flat)


def to_png(figure: Any, title: str = "") -> bytes:
    """Gives a figure a title, and returns it as PNG with this package in its metadata."""
    if title:
        style = {"fontsize": 12, "fontweight": "bold", "color": INK, "x": 0.02, "ha": "left"}
        figure.suptitle(plot_label(title, 80), **style)
    file = io.BytesIO()
    with warnings.catch_warnings():
        # A missing glyph is drawn as a box, about which a user can do nothing.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        metadata = {"Software": _SOFTWARE}
        figure.savefig(file, format="png", dpi=_DPI, facecolor=BACKGROUND, metadata=metadata)
    return file.getvalue()


def is_own_plot(png: bytes) -> bool:
    """Whether the metadata of a PNG names this package."""
    return f"Software\0{_SOFTWARE}".encode() in png


def set_title(axes: Any, title: str) -> None:
    """Gives a panel a title."""
    axes.set_title(title, fontsize=10, color=INK, loc="left")


def _draw_dots(axes: Any, rows: Sequence[ScoreRow], coloured: Collection[str]) -> None:
    for place, row in enumerate(rows):
        mean = row.average.estimate
        if mean is None:
            continue
        colour = MAIN if row.method in coloured else MUTED
        inside = colour if row.average.is_complete else BACKGROUND
        if mean.low is not None and mean.high is not None:
            axes.plot([mean.low, mean.high], [place, place], color=colour, linewidth=2.2, alpha=0.6)
        axes.plot(mean.mean, place, marker="o", markersize=6, color=colour, markerfacecolor=inside)
    axes.set_yticks(range(len(rows)), [plot_label(row.method) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.locator_params(axis="x", nbins=4)
    axes.grid(axis="x", color=GRID, linewidth=0.8)


def _draw_bars(axes: Any, counts: Sequence[WinCount]) -> None:
    labels = [f"{plot_label(it.method)} against {plot_label(it.against)}" for it in counts]
    totals = np.maximum(1, [count.wins + count.ties + count.losses for count in counts])
    left = np.zeros(len(counts))
    for label, field, colour, ink in (
        ("win", "wins", MAIN, BACKGROUND),
        ("tie", "ties", NEUTRAL, INK),
        ("lose", "losses", WARM, BACKGROUND),
    ):
        numbers = [getattr(count, field) for count in counts]
        shares = numbers / totals
        bars = axes.barh(
            range(len(counts)), shares, left=left, color=colour, label=label, height=0.7
        )
        pairs = zip(numbers, shares, strict=True)
        shown = [str(number) if share >= _LEAST_SHARE else "" for number, share in pairs]
        axes.bar_label(bars, shown, label_type="center", color=ink, fontsize=9)
        left = left + shares
    axes.set_yticks(range(len(counts)), labels)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}%")
    axes.axvline(0.5, color=INK, linewidth=0.8, linestyle=":")
