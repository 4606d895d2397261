"""Tables of an evaluation on the screen: drawn on a terminal, aligned text elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from rich.table import Table
from rich.text import Text

from amulet_integrations.cli import screen

if TYPE_CHECKING:
    from amulet_integrations.evaluation.reporting.text_tables import TextTable


def show_table(table: TextTable) -> None:
    """Shows a table, and how it is read."""
    # Brings numpy.
    from amulet_integrations.evaluation.reporting.text_tables import (  # noqa: PLC0415
        terminal_table,
    )

    header, rows = terminal_table(table)
    labels = len(header) - len(table.header) + table.labels
    # Cells hold names that users gave.
    safe = [[screen.one_line(cell) for cell in row] for row in [header, *rows]]
    typer.echo(f"\n{screen.one_line(table.title)}")
    if screen.is_terminal():
        _draw(safe, labels)
    else:
        _write(safe, labels)
    if table.caption:
        typer.echo(screen.safe(table.caption))


def _draw(rows: list[list[str]], labels: int) -> None:
    drawn = Table()
    for place, name in enumerate(rows[0]):
        drawn.add_column(Text(name), justify="left" if place < labels else "right")
    for row in rows[1:]:
        drawn.add_row(*map(Text, row))
    screen.terminal().print(drawn)


def _write(rows: list[list[str]], labels: int) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.ljust(width) if place < labels else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        typer.echo("  ".join(cells).rstrip())
