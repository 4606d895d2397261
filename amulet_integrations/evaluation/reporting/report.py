"""Writes a report into a folder: the page, the tables, the numbers and the plots."""

from __future__ import annotations

import os
from pathlib import Path

from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation.analysis.frontier import DEFAULT_ALLOWANCE
from amulet_integrations.evaluation.metrics.builtin_scores import note_of
from amulet_integrations.evaluation.runs.evaluation_result import Evaluation
from amulet_integrations.files import replace_file

from . import csv_files, plots, result_tables, score_tables, text_tables
from .frontier_plots import frontier_plot
from .html_page import Picture, render_page
from .report_contents import ReportContents

_OPTIONAL_TABLES = ("comparisons.csv", "wins.csv")  # a report may lack these
_PLOTS = (f"{plots.SCORE_PLOT}*.png", "frontier.png", "wins.png")


def write_report(
    evaluation: Evaluation,
    folder: str | os.PathLike[str],
    *,
    allowance: float = DEFAULT_ALLOWANCE,
) -> list[Path]:
    """Writes report.html, tables.md, the numbers as CSV and the plots as PNG.

    It replaces an earlier report in the folder, and removes files of it that the new report does
    not have. Other files are left alone.

    Args:
        evaluation: The result of `evaluate` or `Evaluation.read`.
        folder: The folder. It is created if there is none.
        allowance: How far `pref_nll` may rise at a recommended point, in nats per token.

    Returns:
        The paths of the files, the page first.

    Raises:
        EvaluationError: There is no answer, the allowance is negative, or the folder cannot be
            written.
        MissingDependencyError: matplotlib is not installed. Then nothing is written.
    """
    plots.check_plots()
    return write_contents(ReportContents(evaluation, allowance=allowance), Path(folder))


def report_tables(
    evaluation: Evaluation, *, allowance: float = DEFAULT_ALLOWANCE
) -> list[text_tables.TextTable]:
    """Returns the main tables of a report. `print` shows a table as aligned text.

    Args:
        evaluation: The result of `evaluate` or `Evaluation.read`.
        allowance: How far `pref_nll` may rise at a recommended point, in nats per token.

    Raises:
        EvaluationError: There is no answer, or the allowance is negative.
    """
    return main_text_tables(ReportContents(evaluation, allowance=allowance))


def write_contents(contents: ReportContents, folder: Path) -> list[Path]:
    """Writes a report of these contents; see `write_report`."""
    pictures = _draw_pictures(contents)
    texts = {
        "report.html": render_page(contents, pictures),
        "tables.md": _markdown(contents),
        "scores.csv": csv_files.scores_csv(contents.whole_tables),
    }
    if contents.comparisons:
        texts["comparisons.csv"] = csv_files.comparisons_csv(contents.comparisons)
    if contents.counts:
        texts["wins.csv"] = csv_files.wins_csv([*contents.counts, *contents.counts_by_preference])
    files = {name: text.encode(errors="replace") for name, text in texts.items()}
    files |= {f"{name}.png": picture.png for name, picture in pictures.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in _earlier_files(folder):
            if path.name not in files:
                path.unlink(missing_ok=True)
        for name, content in files.items():
            replace_file(folder / name, content)
    except OSError as error:
        raise EvaluationError(
            f"The report cannot be written to {folder}: {error.strerror}. Choose another folder."
        ) from error
    return [folder / name for name in files]


def main_text_tables(contents: ReportContents) -> list[text_tables.TextTable]:
    """Returns the tables that a reader looks at first."""
    tables = [
        *map(score_tables.score_text, contents.main_tables),
        score_tables.outcome_text(contents.compared),
        *map(result_tables.frontier_text, contents.frontiers[:1]),
        result_tables.strength_text(contents.frontiers, contents.whole_tables),
        result_tables.win_text(contents.counts),
        result_tables.comparison_text(contents.comparisons),
    ]
    return [table for table in tables if table is not None]


def _markdown(contents: ReportContents) -> str:
    facts = contents.facts
    if contents.left_out:
        facts["In the frontier alone"] = ", ".join(contents.left_out)
    lines = [
        f"- **{name}**: {text_tables.escape_markdown(value)}\n" for name, value in facts.items()
    ]
    others = [
        *map(score_tables.score_text, contents.other_tables),
        *map(result_tables.frontier_text, contents.frontiers[1:]),
        result_tables.win_text(contents.counts_by_preference),
    ]
    tables = [*main_text_tables(contents), *(table for table in others if table is not None)]
    return "\n".join(["# Evaluation\n", "".join(lines), *map(text_tables.to_markdown, tables)])


def _draw_pictures(contents: ReportContents) -> dict[str, Picture]:
    """Returns the plots by their names."""
    amulet = {method.name for method in contents.evaluation.methods if method.kind == "amulet"}
    pictures = {}
    for table in contents.main_tables:
        title = f"{note_of(table.score).label} by method, with intervals"
        pictures[plots.score_plot_name(table.score)] = Picture(
            title, plots.score_plot(table, coloured=amulet)
        )
    if contents.frontiers:
        title = "What guidance gains and costs, by guidance scale and bound"
        pictures["frontier"] = Picture(title, frontier_plot(contents.frontiers[0]))
    if contents.counts:
        pictures["wins"] = Picture("Wins, ties and losses", plots.win_plot(contents.counts))
    return pictures


def _earlier_files(folder: Path) -> list[Path]:
    """Returns the files of an earlier report that the new one may lack."""
    tables = [folder / name for name in _OPTIONAL_TABLES if (folder / name).is_file()]
    images = [path for pattern in _PLOTS for path in folder.glob(pattern) if path.is_file()]
    return [*tables, *(path for path in images if plots.is_own_plot(path.read_bytes()))]
