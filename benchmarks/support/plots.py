"""Figures as pictures, one idea each. Without matplotlib there are none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.support.timing import Figure, Figures

WIDTH = 7.0


@dataclass(frozen=True)
class Bars:
    """One bar for each figure, with whiskers from the least of its rounds to the most.

    Attributes:
        title: What is compared.
        axis: What is counted, and its unit.
        bars: Label -> name of the figure.
        log: Whether the axis is logarithmic.
    """

    title: str
    axis: str
    bars: Mapping[str, str]
    log: bool = False

    def draw(self, figures: Figures, title: str) -> Any:
        """The picture; None where none of the figures was measured."""
        present = {label: figures[name] for label, name in self.bars.items() if name in figures}
        if not present:
            return None
        values, errors = _whiskers(present.values())
        picture, axes = _axes(1.2 + 0.45 * len(present))
        bars = axes.barh(list(present), values, xerr=errors, color="tab:blue", capsize=3)
        axes.bar_label(bars, fmt="%.3g", padding=6)
        axes.invert_yaxis()
        axes.margins(x=0.15)
        axes.set_xlabel(self.axis)
        axes.set_title(title)
        if self.log:
            axes.set_xscale("log")
        return picture


@dataclass(frozen=True)
class Lines:
    """Lines over a number, with whiskers from the least of a point's rounds to the most.

    Attributes:
        title: What is compared.
        x: What grows.
        y: What is counted, and its unit.
        lines: Label -> x -> name of the figure.
        log: Whether both axes are logarithmic.
    """

    title: str
    x: str
    y: str
    lines: Mapping[str, Mapping[int, str]]
    log: bool = False

    def draw(self, figures: Figures, title: str) -> Any:
        """The picture; None where none of the figures was measured."""
        measured = {
            label: {x: figures[name] for x, name in points.items() if name in figures}
            for label, points in self.lines.items()
        }
        measured = {label: points for label, points in measured.items() if points}
        if not measured:
            return None
        picture, axes = _axes(4.2)
        for label, points in measured.items():
            values, errors = _whiskers(points.values())
            axes.errorbar(list(points), values, yerr=errors, label=label, marker="o", capsize=3)
        axes.set_xlabel(self.x)
        axes.set_ylabel(self.y)
        axes.set_title(title)
        if self.log:
            axes.set_xscale("log")
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
        ticks = sorted({x for points in measured.values() for x in points})
        slant = {"rotation": 30, "ha": "right"} if self.log else {}  # where they lie close
        axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks], **slant)
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend()
        return picture


Plot = Bars | Lines


def write_plots(
    benchmark: str, plots: Sequence[Plot], figures: Figures, folder: Path
) -> Iterator[Path]:
    """Draws the figures into PNG files, and yields their paths."""
    if not plots or not figures:
        return
    if find_spec("matplotlib") is None:
        print("  No plots: matplotlib is not installed.")
        return
    kind = benchmark.partition(", ")[2]
    for plot in plots:
        picture = plot.draw(figures, f"{plot.title}, {kind}" if kind else plot.title)
        if picture is None:
            continue
        words = f"{benchmark} {plot.title}".replace(",", "").lower().split()
        path = folder / f"{'-'.join(words)}.png"
        folder.mkdir(parents=True, exist_ok=True)
        picture.savefig(path, dpi=150)
        yield path


def _axes(height: float) -> tuple[Any, Any]:
    # Not pyplot: it keeps every picture, and looks for a screen.
    from matplotlib.figure import Figure as Picture  # noqa: PLC0415

    picture = Picture(figsize=(WIDTH, height), layout="constrained")
    axes = picture.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return picture, axes


def _whiskers(figures: Any) -> tuple[list[float], list[list[float]]]:
    """Values, and how far their rounds reach below and above."""
    known = [Figure(of, of, of) if isinstance(of, (int, float)) else of for of in figures]
    below = [of.value - of.low for of in known]
    above = [of.high - of.value for of in known]
    return [of.value for of in known], [below, above]
