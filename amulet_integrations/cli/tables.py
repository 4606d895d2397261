"""Tables of an evaluation on the screen: drawn on a terminal, aligned text elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from rich.table import Table
from rich.text import Text

from amulet_integrations.cli import screen

if TYPE_CHECKING:
    from amulet_integrations.evaluation.reporting import TextTable


def show_table(table: TextTable) -> None:
    """Shows a table, and how it is read."""
    if not screen.is_terminal():
        typer.echo(f"\n{table}")
        return
    # Titles and captions hold names that users gave, as cells do.
    typer.echo(f"\n{screen.one_line(table.title)}")
    _draw(table)
    if table.caption:
        typer.echo(screen.one_line(table.caption))


def _draw(table: TextTable) -> None:
    # Brings numpy.
    from amulet_integrations.evaluation.reporting.text_tables import (  # noqa: PLC0415
        terminal_table,
    )

    header, rows, words = terminal_table(table)
    drawn = Table()
    for place, name in enumerate(header):
        drawn.add_column(Text(name), justify="left" if place < words else "right")
    for row in rows:
        drawn.add_row(*map(Text, row))
    screen.terminal().print(drawn)
