"""Tables of text, for a terminal, Markdown and the page alike."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from amulet_integrations.evaluation.statistics import Estimate

NOTHING = "–"  # noqa: RUF001 - an en dash is what stands for no value

# Underscores within a word are themselves.
_MARKUP = re.compile(r"[\\|`*\[\]<>~&]|(?<!\w)_|_(?!\w)")


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


def terminal_table(table: TextTable) -> tuple[list[str], list[list[str]]]:
    """The header and the rows as plain strings, for whatever draws tables on a terminal.

    Where rows are grouped, a first column has the group's label beside the first of its rows.
    """
    grouped = any(group.label for group in table.groups)
    header = [""] * grouped + list(table.header)
    rows = []
    for group in table.groups:
        for number, row in enumerate(group.rows):
            label = [group.label if number == 0 else ""] * grouped
            rows.append(label + [str(cell) for cell in row])
    return header, rows


def to_markdown(table: TextTable) -> str:
    """The table in GitHub's Markdown, the best of each column in bold."""
    grouped = any(group.label for group in table.groups)
    header = [*[" "] * grouped, *map(_escaped, table.header)]
    words = table.labels + grouped
    rule = [":--"] * words + ["--:"] * (len(header) - words)
    lines = [f"### {_escaped(table.title)}", ""]
    if table.caption:
        lines += [table.caption, ""]
    lines += [_line(header), _line(rule)]
    for group in table.groups:
        for number, row in enumerate(group.rows):
            label = [_escaped(group.label) if number == 0 else " "] * grouped
            lines.append(_line(label + [_markdown(cell) for cell in row]))
    return "\n".join(lines) + "\n"


def estimate_cell(
    found: Estimate | None, digits: int, *, strong: bool = False, signed: bool = False
) -> Cell:
    """A mean with its interval."""
    if found is None:
        return Cell(NOTHING)
    text = number(found.mean, digits, signed=signed)
    if found.low is None or found.high is None:
        return Cell(text, strong=strong)
    low, high = (number(end, digits, signed=signed) for end in (found.low, found.high))
    return Cell(text, f"[{low}, {high}]", strong=strong)


def number(value: float, digits: int, *, signed: bool = False) -> str:
    """A number with so many decimal places; what rounds to zero has no minus."""
    rounded = round(value, digits) + 0.0
    return f"{rounded:+.{digits}f}" if signed and rounded else f"{rounded:.{digits}f}"


def p_value(value: float) -> str:
    """A p-value; very small ones are not told apart."""
    return "<0.001" if value < 0.001 else f"{value:.3f}"  # noqa: PLR2004 - look only


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown(cell: Cell) -> str:
    text = f"**{_escaped(cell.text)}**" if cell.strong else _escaped(cell.text)
    return f"{text} {cell.small}".rstrip()


def _escaped(text: str) -> str:
    return _MARKUP.sub(r"\\\g<0>", " ".join(text.split()))
