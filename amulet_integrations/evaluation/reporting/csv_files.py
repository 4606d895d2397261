"""The numbers of a report as CSV, one mean, difference or count in each line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from amulet_integrations.evaluation.analysis.comparisons import Comparison
from amulet_integrations.evaluation.analysis.statistics import Estimate
from amulet_integrations.evaluation.judging.win_counts import WinCount
from amulet_integrations.terminal_text import safe

from .score_tables import ALL, AVERAGE, ScoreTable

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # a formula begins with one of these


def scores_csv(tables: Iterable[ScoreTable]) -> str:
    """Returns every mean with its interval, and how many answers and data sets it covers.

    The data set of averages is "average".
    """

    def lines() -> Iterator[list[Any]]:
        for table in tables:
            for block in table.blocks:
                for row in block.rows:
                    means = zip((*table.data_sets, AVERAGE), (*row.means, row.average), strict=True)
                    for data_set, (estimate, *coverage) in means:
                        names = [table.score, block.preference or ALL, row.method, data_set]
                        if estimate is not None:
                            yield [*names, *_numbers(estimate), *coverage]

    header = ["score", "preference", "method", "data_set", "mean", "low", "high"]
    return _csv(
        [*header, "questions", "measured", "answers", "data_sets", "all_data_sets"], lines()
    )


def comparisons_csv(comparisons: Iterable[Comparison]) -> str:
    """Returns every difference with its interval and its p-values."""
    header = ["score", "preference", "method", "against", "difference", "low", "high"]
    lines = (
        [
            *(one.score, one.preference or ALL, one.method, one.against),
            *_numbers(one.difference),
            *(one.p_value, one.holm),
        ]
        for one in comparisons
    )
    return _csv([*header, "questions", "p", "p_holm"], lines)


def wins_csv(counts: Iterable[WinCount]) -> str:
    """Returns the counts of each judge."""
    header = ["judge", "preference", "method", "against", "win_rate", "low", "high", "questions"]
    lines = (
        [
            *(one.judge, one.preference or ALL, one.method, one.against),
            *([""] * 4 if one.rate is None else _numbers(one.rate)),
            *(one.wins, one.ties, one.losses, one.unread, one.unparsable),
        ]
        for one in counts
    )
    return _csv([*header, "wins", "ties", "losses", "no_result", "unparsable_replies"], lines)


def _numbers(estimate: Estimate) -> list[Any]:
    return [estimate.mean, estimate.low, estimate.high, estimate.questions]


def _csv(header: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_escape(value) for value in line] for line in lines)
    return text.getvalue()


def _escape(value: Any) -> Any:
    """Returns a text that no spreadsheet takes for a formula. Numbers are left as they are."""
    if not isinstance(value, str):
        return value
    text = safe(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
