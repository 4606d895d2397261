"""Tables of text, for a terminal, Markdown and the page alike."""

from __future__ import annotations

from dataclasses import dataclass, field

from amulet_integrations.evaluation.analysis.statistics import Estimate
from amulet_integrations.terminal_text import one_line

NOTHING = "–"  # noqa: RUF001 - an en dash is what stands for no value


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: What it says.
        small: What stands behind it, smaller: an interval.
        strong: Whether it is the best of its kind.
    """

    text: str
    small: str = ""
    strong: bool = False

    def __str__(self) -> str:
        return f"{self.text} {self.small}".rstrip()


@dataclass(frozen=True)
class Group:
    """Rows that belong together.

    Attributes:
        label: What they have in common; "" for nothing.
        rows: Each as long as the table's header.
    """

    label: str
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class TextTable:
    """A table, its first `labels` columns words and the others numbers.

    As a string it is plain text with aligned columns.

    Attributes:
        title: What it shows.
        header: The names of the columns.
        groups: The rows.
        labels: How many columns hold words.
        caption: How to read it.
    """

    title: str
    header: tuple[str, ...]
    groups: tuple[Group, ...]
    labels: int = 1
    caption: str = field(default="")

    def __str__(self) -> str:
        parts = [one_line(self.title), _aligned(self), one_line(self.caption)]
        return "\n".join(part for part in parts if part)


def terminal_table(table: TextTable) -> tuple[list[str], list[list[str]], int]:
    """The header, the rows, and how many of the columns are words, for whatever draws tables.

    Where rows are grouped, a first column has the group's label beside the first of its rows.
    Every cell is one line that a terminal shows and does not obey.
    """
    grouped = any(group.label for group in table.groups)
    header = [""] * grouped + [one_line(name) for name in table.header]
    rows = []
    for group in table.groups:
        for number, row in enumerate(group.rows):
            label = [one_line(group.label) if number == 0 else ""] * grouped
            rows.append(label + [one_line(str(cell)) for cell in row])
    return header, rows, table.labels + grouped


def estimate_cell(
    found: Estimate | None,
    digits: int,
    *,
    strong: bool = False,
    signed: bool = False,
    beside: str = "",
) -> Cell:
    """A mean with its interval, and what else stands beside it."""
    if found is None:
        return Cell(NOTHING)
    text = number(found.mean, digits, signed=signed)
    if found.low is None or found.high is None:
        return Cell(text, beside, strong=strong)
    low, high = (number(end, digits, signed=signed) for end in (found.low, found.high))
    return Cell(text, f"[{low}, {high}] {beside}".rstrip(), strong=strong)


def number(value: float, digits: int, *, signed: bool = False) -> str:
    """A number with so many decimal places; what rounds to zero has no minus."""
    rounded = round(value, digits) + 0.0
    return f"{rounded:+.{digits}f}" if signed and rounded else f"{rounded:.{digits}f}"


def p_value(value: float) -> str:
    """A p-value; very small ones are not told apart."""
    return "<0.001" if value < 0.001 else f"{value:.3f}"  # noqa: PLR2004 - look only


def _aligned(table: TextTable) -> str:
    header, rows, words = terminal_table(table)
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place < words else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
