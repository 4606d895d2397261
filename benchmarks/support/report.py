"""Figures for people, and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.bounds import bound_of
from benchmarks.support.timing import Figure, Figures

NAME = "figures.json"


def format_lines(benchmark: str, figures: Figures) -> Iterator[str]:
    """Each figure with its rounds, its bound, and whether the bound is met."""
    width = max(map(len, figures), default=0) + 2
    for name, figure in figures.items():
        line = f"  {name:<{width}}{_value(figure):>10,.2f}"
        if isinstance(figure, Figure):
            line += f"   [{figure.low:,.2f} to {figure.high:,.2f}]"
        if bound := bound_of(benchmark, name):
            met = "yes" if bound.met_by(_value(figure)) else "no"
            line += f"   bound: {bound}, met: {met}"
        yield line


def save(
    benchmark: str, figures: Figures, seconds: float, machine: Mapping[str, Any], folder: Path
) -> Path:
    """Writes the figures into the report, beside those of other benchmarks on this machine."""
    path = folder / NAME
    report = {"machine": dict(machine), "benchmarks": {}}
    if path.exists():
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept.get("machine") == report["machine"]:
            report = kept
    report["benchmarks"][benchmark] = {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "took_seconds": round(seconds, 1),
        "figures": {name: entry(benchmark, name, figure) for name, figure in figures.items()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return path


def entry(benchmark: str, name: str, figure: Figure | float) -> dict[str, Any]:
    """A figure as JSON holds it."""
    value = _value(figure)
    content: dict[str, Any] = {"value": value}
    if isinstance(figure, Figure):
        content |= {"min": figure.low, "max": figure.high}
    if bound := bound_of(benchmark, name):
        content |= {"bound": str(bound), "met": "yes" if bound.met_by(value) else "no"}
    return content


def _value(figure: Figure | float) -> float:
    return figure.value if isinstance(figure, Figure) else figure
