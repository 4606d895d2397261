"""Tables of text cells, as plain text, for a terminal, and in Markdown."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from amulet_integrations.evaluation.analysis.statistics import Estimate
from amulet_integrations.evaluation.data.record_types import group_by
from amulet_integrations.terminal_text import one_line

NO_VALUE = "–"  # noqa: RUF001 - an en dash

# Underscores between letters need no backslash. Addresses become links without any brackets.
_MARKUP = re.compile(
    r"[\\|`*\[\]<>~&!#$]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=www)\.", re.IGNORECASE
)


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: The main text.
        small: A text in smaller type after it, such as an interval.
        strong: Whether the cell is highlighted.
    """

    text: str
    small: str = ""
    strong: bool = False

    def __str__(self) -> str:
        return f"{self.text} {self.small}".rstrip()


Row = tuple[Cell, ...]


@dataclass(frozen=True)
class Group:
    """Rows with a common label.

    Attributes:
        label: The label; "" for none.
        rows: The rows, each as long as the header of the table.
    """

    label: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class TextTable:
    """A table. Its first `labels` columns are words, the others numbers.

    `str` gives plain text with aligned columns.

    Attributes:
        title: The title.
        header: The names of the columns.
        groups: The rows.
        labels: The number of columns that are words.
        caption: How to read the table.
    """

    title: str
    header: tuple[str, ...]
    groups: tuple[Group, ...]
    labels: int = 1
    caption: str = ""

    def __str__(self) -> str:
        header, rows, words = terminal_table(self)
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(width) if place < words else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in (header, *rows)
        ]
        return "\n".join(
            part for part in (one_line(self.title), *lines, one_line(self.caption)) if part
        )


def group_rows(labelled: Iterable[tuple[str, Row]]) -> tuple[Group, ...]:
    """Groups rows by their labels, in the order in which labels first appear."""
    groups = group_by(labelled, lambda pair: pair[0])
    return tuple(Group(label, tuple(row for _, row in pairs)) for label, pairs in groups.items())


def terminal_table(table: TextTable) -> tuple[list[str], list[list[str]], int]:
    """Returns the header, the rows, and the number of columns that are words.

    If rows are grouped, a first column has the label of the group in its first row. Every cell is
    one line without control characters.
    """
    return _grid(table, one_line, lambda cell: one_line(str(cell)))


def to_markdown(table: TextTable) -> str:
    """Returns the table in GitHub's Markdown, with highlighted cells in bold."""
    header, rows, words = _grid(table, escape_markdown, _markdown_cell)
    rule = [":--"] * words + ["--:"] * (len(header) - words)
    lines = [f"### {escape_markdown(table.title)}", ""]
    if table.caption:
        lines += [escape_markdown(table.caption), ""]
    lines += [f"| {' | '.join(row)} |" for row in (header, rule, *rows)]
    return "\n".join(lines) + "\n"


def escape_markdown(text: str) -> str:
    """Returns a text on one line that Markdown shows as it is."""
    return _MARKUP.sub(r"\\\g<0>", one_line(text))


def estimate_cell(
    estimate: Estimate | None,
    digits: int = 3,
    *,
    strong: bool = False,
    signed: bool = False,
    note: str = "",
) -> Cell:
    """Returns a cell with a mean, its interval and a note."""
    if estimate is None:
        return Cell(NO_VALUE)
    text = format_number(estimate.mean, digits, signed=signed)
    if estimate.low is None or estimate.high is None:
        return Cell(text, note, strong=strong)
    low, high = (format_number(it, digits, signed=signed) for it in (estimate.low, estimate.high))
    return Cell(text, f"[{low}, {high}] {note}".rstrip(), strong=strong)


def format_number(value: float, digits: int, *, signed: bool = False) -> str:
    """Formats a number with so many decimal places. A number that rounds to 0 has no minus sign."""
    rounded = round(value, digits) + 0.0
    return f"{rounded:+.{digits}f}" if signed and rounded else f"{rounded:.{digits}f}"


def format_p_value(value: float) -> str:
    """Formats a p-value."""
    return "<0.001" if value < 0.001 else f"{value:.3f}"  # noqa: PLR2004


def _grid(
    table: TextTable, write_label: Callable[[str], str], write_cell: Callable[[Cell], str]
) -> tuple[list[str], list[list[str]], int]:
    """Returns the header, the rows, and the number of columns that are words; all as strings."""
    grouped = any(group.label for group in table.groups)
    header = [""] * grouped + [write_label(name) for name in table.header]
    rows = [
        [write_label(group.label if number == 0 else "")] * grouped + [write_cell(it) for it in row]
        for group in table.groups
        for number, row in enumerate(group.rows)
    ]
    return header, rows, table.labels + grouped


def _markdown_cell(cell: Cell) -> str:
    text = f"**{escape_markdown(cell.text)}**" if cell.strong else escape_markdown(cell.text)
    return f"{text} {cell.small}".rstrip()
