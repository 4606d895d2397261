"""The report's numbers as CSV, a line for each."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from amulet_integrations.evaluation.analysis.comparisons import Comparison
from amulet_integrations.evaluation.analysis.statistics import Estimate
from amulet_integrations.evaluation.judging.judge import WinCount
from amulet_integrations.evaluation.reporting.tables import ALL, AVERAGE, ScoreTable
from amulet_integrations.terminal_text import safe

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # what one may begin with


def scores_csv(tables: Iterable[ScoreTable]) -> str:
    """Every mean with its interval, and of how many of the answers and data sets it is.

    Averages have the data set "average".
    """
    header = ["score", "preference", "method", "data_set", "mean", "low", "high"]
    header += ["questions", "measured", "answers", "data_sets", "all_data_sets"]
    return _csv(header, (line for table in tables for line in _lines(table)))


def comparisons_csv(comparisons: Iterable[Comparison]) -> str:
    """Every difference with its interval and its p-values."""
    header = ["score", "preference", "method", "against", "difference", "low", "high"]
    header += ["questions", "p", "p_holm"]
    lines = (
        [
            *(one.score, one.preference or ALL, one.method, one.against),
            *_numbers(one.difference),
            *(one.p_value, one.holm),
        ]
        for one in comparisons
    )
    return _csv(header, lines)


def wins_csv(counts: Iterable[WinCount]) -> str:
    """What the judges said, counted."""
    header = ["judge", "preference", "method", "against", "win_rate", "low", "high", "questions"]
    header += ["wins", "ties", "losses", "no_result", "unparsable_replies"]
    lines = (
        [
            *(one.judge, one.preference or ALL, one.method, one.against),
            *([""] * 4 if one.rate is None else _numbers(one.rate)),
            *(one.wins, one.ties, one.losses, one.unread, one.unparsable),
        ]
        for one in counts
    )
    return _csv(header, lines)


def _lines(table: ScoreTable) -> Iterator[list[Any]]:
    for block in table.blocks:
        for row in block.rows:
            data_sets = (*table.data_sets, AVERAGE)
            cells = zip(data_sets, (*row.cells, row.average), row.shares, strict=True)
            for data_set, found, share in cells:
                if found is not None:
                    names = [table.score, block.preference or ALL, row.method, data_set]
                    yield [*names, *_numbers(found), *share]


def _numbers(found: Estimate) -> list[Any]:
    ends = ("" if end is None else end for end in (found.low, found.high))
    return [found.mean, *ends, found.questions]


def _csv(header: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_harmless(value) for value in line] for line in lines)
    return text.getvalue()


def _harmless(value: Any) -> Any:
    """A text that no spreadsheet takes for a formula; numbers stay what they are."""
    if not isinstance(value, str):
        return value
    text = safe(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
