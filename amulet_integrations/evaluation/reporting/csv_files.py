"""The report's numbers as CSV, a line for each."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from amulet_integrations.evaluation.comparisons import Comparison
from amulet_integrations.evaluation.judging import WinCount
from amulet_integrations.evaluation.reporting.tables import ALL, AVERAGE, ScoreTable
from amulet_integrations.evaluation.statistics import Estimate


def scores_csv(tables: Iterable[ScoreTable]) -> str:
    """Every mean with its interval. Averages have the data set "average"."""
    header = ["score", "preference", "method", "data_set", "mean", "low", "high", "questions"]
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
    """What the judge said, counted."""
    header = ["preference", "method", "against", "win_rate", "low", "high", "questions"]
    header += ["wins", "ties", "losses", "no_result", "unparsable_replies"]
    lines = (
        [
            *(one.preference or ALL, one.method, one.against),
            *([""] * 4 if one.rate is None else _numbers(one.rate)),
            *(one.wins, one.ties, one.losses, one.unread, one.unparsable),
        ]
        for one in counts
    )
    return _csv(header, lines)


def _lines(table: ScoreTable) -> Iterator[list[Any]]:
    for block in table.blocks:
        for row in block.rows:
            cells = zip((*table.data_sets, AVERAGE), (*row.cells, row.average), strict=True)
            for data_set, found in cells:
                if found is not None:
                    names = [table.score, block.preference or ALL, row.method, data_set]
                    yield [*names, *_numbers(found)]


def _numbers(found: Estimate) -> list[Any]:
    ends = ("" if end is None else end for end in (found.low, found.high))
    return [found.mean, *ends, found.questions]


def _csv(header: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
    return text.getvalue()
