"""A picture of what judges said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amulet_integrations.evaluation.judging.judge import WinCount
from amulet_integrations.evaluation.reporting.judges import by_judge
from amulet_integrations.evaluation.reporting.plots import (
    LIGHT,
    Theme,
    panels,
    plot_label,
    png,
)
from amulet_integrations.evaluation.reporting.tables import ALL

_LEAST_SHARE = 0.06  # of a bar's length that holds its number


def win_plot(counts: Sequence[WinCount], theme: Theme = LIGHT) -> bytes:
    """Wins, ties and losses of each two methods, a panel for each judge, as PNG."""
    judged = by_judge(counts)
    height = 1.3 + 0.42 * max(map(len, judged.values()))
    picture, grid = panels(len(judged), 1, height, theme, alike=False)
    picture.get_layout_engine().set(h_pad=0.12)
    for axes, (judge, held) in zip(grid, judged.items(), strict=True):
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
    return png(picture, theme)


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
