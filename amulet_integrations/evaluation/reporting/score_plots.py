"""A picture of a score: means by method, with intervals."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Collection, Sequence
from typing import Any

from amulet_integrations.evaluation.metrics.score_notes import note_of
from amulet_integrations.evaluation.reporting.plots import (
    LIGHT,
    Theme,
    heading,
    panels,
    plot_label,
    png,
)
from amulet_integrations.evaluation.reporting.tables import ALL, ScoreRow, ScoreTable

SCORE_PLOT = "scores-"
"""How the names of these pictures' files begin."""

_PANELS = 3  # side by side
_NAME = 60  # characters of a score that name a file


def score_plot_name(score: str) -> str:
    """What the picture of a score is called: a file's name, each score's its own."""
    safe = re.sub(r"[^a-z0-9_.-]", "_", score)[:_NAME]
    if safe != score:
        safe += f"-{hashlib.sha256(score.encode(errors='surrogatepass')).hexdigest()[:8]}"
    return f"{SCORE_PLOT}{safe}"


def score_plot(table: ScoreTable, theme: Theme = LIGHT, *, coloured: Collection[str] = ()) -> bytes:
    """A score's averages by method with their intervals, a panel for each preference, as PNG.

    An average that lacks a data set which other methods have is a hollow dot.

    Args:
        table: The averages.
        theme: The colours.
        coloured: The names of the methods to look at, Amulet's.
    """
    blocks = table.blocks
    note = note_of(table.score)
    methods = len(blocks[0].rows) if blocks else 0
    rows = math.ceil(len(blocks) / _PANELS)
    columns = min(len(blocks), _PANELS)
    picture, grid = panels(rows, columns, 0.9 + 0.3 * methods, theme)
    for axes, block in zip(grid, blocks, strict=False):
        _dots(axes, block.rows, theme, coloured)
        title = plot_label(block.preference or ALL)
        axes.set_title(title, fontsize=10, color=theme.ink, loc="left")
    for axes in grid[len(blocks) :]:
        axes.set_visible(False)
    picture.suptitle(plot_label(_titled(note.label, note.better), 80), **heading(theme))
    return png(picture, theme)


def _dots(axes: Any, rows: Sequence[ScoreRow], theme: Theme, coloured: Collection[str]) -> None:
    for place, row in enumerate(rows):
        mean = row.average
        if mean is None:
            continue
        colour = theme.main if row.method in coloured else theme.muted
        inside = colour if row.shares[-1].whole else theme.background
        if mean.low is not None and mean.high is not None:
            axes.plot([mean.low, mean.high], [place, place], color=colour, linewidth=2.2, alpha=0.6)
        axes.plot(mean.mean, place, marker="o", markersize=6, color=colour, markerfacecolor=inside)
    axes.set_yticks(range(len(rows)), [plot_label(row.method) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.locator_params(axis="x", nbins=4)
    axes.grid(axis="x", color=theme.grid, linewidth=0.8)
    axes.set_axisbelow(True)


def _titled(label: str, better: str | None) -> str:
    return label if better is None else f"{label} ({better} is better)"
