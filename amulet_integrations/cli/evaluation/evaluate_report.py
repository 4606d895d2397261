"""The end of `amulet evaluate`: the report, and the preset that it recommends."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.table import Table
from rich.text import Text

from amulet_integrations.cli import terminal
from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation.data.methods import points_of
from amulet_integrations.personalization.saved_presets import (
    SavedPreset,
    check_presets_writable,
    save_preset,
)

if TYPE_CHECKING:
    from amulet_integrations.engine import Engine
    from amulet_integrations.evaluation import Evaluation, Method
    from amulet_integrations.evaluation.analysis.frontier import Limit
    from amulet_integrations.evaluation.reporting import TextTable
    from amulet_integrations.evaluation.reporting.report_contents import ReportContents

_WIDEST = 10_000  # characters: no terminal is wider


def show_report(evaluation: Evaluation, folder: Path, allowance: float) -> ReportContents:
    """Shows the main tables and writes the report.

    Returns:
        The contents of the report.
    """
    # Brings numpy.
    from amulet_integrations.evaluation.reporting import report, report_contents  # noqa: PLC0415

    contents = report_contents.ReportContents(evaluation, allowance=allowance)
    # The other tables would scroll the main ones away; the page has all of them.
    for table in report.main_text_tables(contents):
        show_table(table)
    if left_out := sum(evaluation.settings.left_out.values()):
        terminal.notice(
            f"{terminal.plural(left_out, 'question')} too long for the model: left out."
        )
    page, *others = report.write_contents(contents, folder)
    typer.echo(f"\nThe report: {terminal.one_line(page)}")
    typer.echo(f"Beside it: {terminal.one_line(', '.join(path.name for path in others))}")
    return contents


def check_saving(methods: Iterable[Method]) -> None:
    """Refuses `--save-preset` where there is nothing to choose from, or nowhere to write.

    Raises:
        EvaluationError: At most one strength of Amulet is compared.
        AmuletError: The file of presets cannot be written.
    """
    if len(points_of(methods)) < 2:  # noqa: PLR2004 - one leaves nothing to choose
        raise EvaluationError(
            "--save-preset keeps the best of several strengths, and there is none to choose from. "
            "Add --curve, or two methods such as amulet@p=2,kl=0.2 and amulet@p=3,kl=0.2."
        )
    check_presets_writable()


def save_recommended(engine: Engine, contents: ReportContents) -> None:
    """Saves the recommended strength under the model's fingerprint, and prints it.

    A strength that breaks more answers than `pref` is not saved: nobody who uses the model would
    expect that.

    Raises:
        EvaluationError: The engine's model is in another process, and its fingerprint is unknown.
        AmuletError: The file of presets cannot be written.
    """
    frontier = next(iter(contents.frontiers), None)
    if frontier is None or (point := frontier.recommended) is None:
        terminal.notice("No preset is saved, for none is recommended.")
        return
    if frontier.breaks(point):
        answers = terminal.plural(point.broken, "answer")
        terminal.notice(
            f"No preset is saved: {point.method} breaks {answers}, and {frontier.reference.method} "
            f"{frontier.reference.broken}. Try weaker guidance or a tighter bound."
        )
        return
    fingerprint = getattr(engine, "model_fingerprint", None)
    if fingerprint is None:
        raise EvaluationError(
            f"A {type(engine).__name__} does not name the model that it runs. Pass guidance_scale="
            f"{point.strength.guidance_scale:g} and max_kl={point.strength.max_kl} yourself."
        )
    scale, bound = point.strength
    path = save_preset(
        fingerprint,
        SavedPreset(
            guidance_scale=scale,
            max_kl=bound,
            model=engine.model_name,
            source=_source(contents, frontier.missed(point)),
        ),
    )
    typer.echo(
        f"Saved for this model: guidance_scale={scale:.4g}, max_kl={bound}, in "
        f"{terminal.one_line(path)}"
    )


def _source(contents: ReportContents, missed: Iterable[Limit]) -> str:
    """Where a preset is from: the questions, the set-up, and the limits that it exceeds."""
    answers = contents.evaluation.answers
    questions = len({(answer.data_set, answer.index) for answer in answers})
    preferences = len({answer.preference for answer in answers})
    set_up = contents.evaluation.settings.set_up.name
    return (
        f"amulet evaluate: {terminal.plural(questions, 'question')}, "
        f"{terminal.plural(preferences, 'preference')}, set-up {set_up}"
        + "".join(f", past its limit in {limit.what}" for limit in missed)
    )


def show_table(table: TextTable) -> None:
    """Shows a table: drawn on a terminal, as aligned text elsewhere."""
    if not terminal.is_interactive():
        typer.echo(f"\n{table}")
        return
    # Brings numpy.
    from amulet_integrations.evaluation.reporting import text_tables  # noqa: PLC0415

    # Titles and captions contain names that users gave, as cells do.
    typer.echo(f"\n{terminal.one_line(table.title)}")
    header, rows, words = text_tables.terminal_table(table)
    drawn = Table()
    for place, name in enumerate(header):
        drawn.add_column(Text(name), justify="left" if place < words else "right", overflow="fold")
    for row in rows:
        drawn.add_row(*map(Text, row))
    console = terminal.console()
    if (
        console.measure(drawn, options=console.options.update(width=_WIDEST)).minimum
        > console.width
    ):
        drawn.padding = 0  # rather than break words
    console.print(drawn)
    if table.caption:
        typer.echo(terminal.one_line(table.caption))
