"""A report in a folder: the page, the tables, the numbers and the plots."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation.analysis.frontier import DEFAULT_ALLOWANCE
from amulet_integrations.evaluation.analysis.result import Evaluation
from amulet_integrations.evaluation.metrics.score_notes import note_of
from amulet_integrations.evaluation.reporting.about import about
from amulet_integrations.evaluation.reporting.comparison_tables import comparison_text, win_text
from amulet_integrations.evaluation.reporting.contents import Contents, gather
from amulet_integrations.evaluation.reporting.csv_files import (
    comparisons_csv,
    scores_csv,
    wins_csv,
)
from amulet_integrations.evaluation.reporting.frontier_plots import frontier_plot
from amulet_integrations.evaluation.reporting.frontier_tables import frontier_text, strength_text
from amulet_integrations.evaluation.reporting.html import Picture, render_page
from amulet_integrations.evaluation.reporting.markdown import list_in_markdown, to_markdown
from amulet_integrations.evaluation.reporting.outcome_tables import outcome_text
from amulet_integrations.evaluation.reporting.plots import (
    DARK,
    LIGHT,
    Theme,
    check_plots,
    is_ours,
)
from amulet_integrations.evaluation.reporting.score_plots import (
    SCORE_PLOT,
    score_plot,
    score_plot_name,
)
from amulet_integrations.evaluation.reporting.tables import score_text
from amulet_integrations.evaluation.reporting.text_tables import TextTable
from amulet_integrations.evaluation.reporting.win_plots import win_plot

_NOT_ALWAYS = ("comparisons.csv", "wins.csv")  # tables that not every report has
_PICTURES = (f"{SCORE_PLOT}*.png", "frontier.png", "wins.png")


def write_report(
    evaluation: Evaluation,
    folder: str | os.PathLike[str],
    *,
    allowance: float = DEFAULT_ALLOWANCE,
) -> list[Path]:
    """Writes report.html, tables.md, the numbers as CSV and the plots as PNG.

    A report that was written there before is replaced, also those of its files that this one does
    not have; other files are left alone.

    Args:
        evaluation: What `evaluate` found, or `Evaluation.read` read.
        folder: Where to write; it is made where there is none.
        allowance: By how many nats per token `pref_nll` may rise at a recommended point.

    Returns:
        The files written, the page first.

    Raises:
        EvaluationError: There is no answer, the allowance is negative, or the folder cannot be
            written.
        MissingDependencyError: matplotlib is not installed. Nothing is written then.
    """
    check_plots()
    return write_contents(gather(evaluation, allowance=allowance), Path(folder))


def report_tables(
    evaluation: Evaluation, *, allowance: float = DEFAULT_ALLOWANCE
) -> list[TextTable]:
    """The report's main tables, without writing anything; `print` shows one as aligned text.

    Args:
        evaluation: What `evaluate` found, or `Evaluation.read` read.
        allowance: By how many nats per token `pref_nll` may rise at a recommended point.

    Raises:
        EvaluationError: There is no answer, or the allowance is negative.
    """
    return main_text_tables(gather(evaluation, allowance=allowance))


def write_contents(contents: Contents, folder: Path) -> list[Path]:
    """`write_report` of what was gathered already."""
    pictures = {picture.name: picture for picture in _pictures(contents)}
    files = {"report.html": render_page(contents, pictures).encode()}
    files["tables.md"] = _encoded(_markdown(contents))
    files["scores.csv"] = _encoded(scores_csv(contents.whole_tables))
    if contents.comparisons:
        files["comparisons.csv"] = _encoded(comparisons_csv(contents.comparisons))
    if contents.counts:
        counts = [*contents.counts, *contents.counts_by_preference]
        files["wins.csv"] = _encoded(wins_csv(counts))
    files |= {f"{picture.name}.png": picture.light for picture in pictures.values()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in _former(folder):
            if path.name not in files:
                path.unlink(missing_ok=True)
        for name, content in files.items():
            _replace(folder / name, content)
    except OSError as error:
        raise EvaluationError(
            f"The report cannot be written to {folder}: {error.strerror}. Choose another folder."
        ) from error
    return [folder / name for name in files]


def main_text_tables(contents: Contents) -> list[TextTable]:
    """The tables that a reader looks at first."""
    tables = [
        *map(score_text, contents.main_tables),
        outcome_text(contents.compared),
        *map(frontier_text, contents.frontiers[:1]),
        strength_text(contents.frontiers, contents.whole_tables),
        win_text(contents.counts),
        comparison_text(contents.comparisons),
    ]
    return [table for table in tables if table is not None]


def _markdown(contents: Contents) -> str:
    facts = about(contents.evaluation)
    if contents.left_out:
        facts.append(("In the frontier alone", ", ".join(contents.left_out)))
    tables = [*main_text_tables(contents), *_further_text_tables(contents)]
    return "\n".join(["# Evaluation\n", list_in_markdown(facts), *map(to_markdown, tables)])


def _further_text_tables(contents: Contents) -> list[TextTable]:
    tables = [
        *map(score_text, contents.other_tables),
        *map(frontier_text, contents.frontiers[1:]),
        win_text(contents.counts_by_preference),
    ]
    return [table for table in tables if table is not None]


def _pictures(contents: Contents) -> Iterator[Picture]:
    ours = {method.name for method in contents.evaluation.methods if method.kind == "amulet"}
    for table in contents.main_tables:
        name = score_plot_name(table.score)
        title = f"{note_of(table.score).label} by method, with intervals"
        yield _picture(name, title, partial(score_plot, table, coloured=ours))
    if contents.frontiers:
        title = "What guidance gains and costs, by guidance scale and bound"
        yield _picture("frontier", title, partial(frontier_plot, contents.frontiers[0]))
    if contents.counts:
        title = "Wins, ties and losses"
        yield _picture("wins", title, partial(win_plot, contents.counts))


def _picture(name: str, title: str, draw: Callable[[Theme], bytes]) -> Picture:
    return Picture(name, title, draw(LIGHT), draw(DARK))


def _encoded(text: str) -> bytes:
    return text.encode(errors="replace")


def _former(folder: Path) -> list[Path]:
    """The files of a report that was written there before."""
    tables = [folder / name for name in _NOT_ALWAYS if (folder / name).is_file()]
    pictures = [path for pattern in _PICTURES for path in folder.glob(pattern) if path.is_file()]
    return [*tables, *(path for path in pictures if is_ours(path.read_bytes()))]


def _replace(path: Path, content: bytes) -> None:
    """Nobody who reads the file meanwhile sees half of it."""
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.write_bytes(content)
    unfinished.replace(path)
