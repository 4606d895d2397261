"""The CSV files have every number, and no text of theirs is a formula."""

from __future__ import annotations

import csv
import io

import pytest

from amulet_integrations.evaluation.analysis.comparisons import compare_methods
from amulet_integrations.evaluation.judging.win_counts import win_counts
from amulet_integrations.evaluation.reporting.csv_files import (
    comparisons_csv,
    scores_csv,
    wins_csv,
)
from amulet_integrations.evaluation.reporting.score_tables import (
    score_table,
)
from tests.unit.evaluation import made


def test_csv_holds_every_number():
    read = list(csv.DictReader(io.StringIO(scores_csv([score_table(made.small(), "reward")]))))
    assert len(read) == 3 * 2 * 3
    (found,) = (
        row
        for row in read
        if (row["preference"], row["method"], row["data_set"]) == ("all", "base", "average")
    )
    assert float(found["mean"]) == 6.5
    assert found["questions"] == "3"
    assert (found["measured"], found["answers"]) == ("6", "6")


def test_csv_of_comparisons_and_wins():
    comparisons = compare_methods(made.small(), "reward", [("amulet", "base")])
    (row,) = csv.DictReader(io.StringIO(comparisons_csv(comparisons)))
    assert (row["method"], row["against"], float(row["difference"])) == ("amulet", "base", -3.0)
    counts = win_counts(made.outcomes(("base",)))
    (row,) = csv.DictReader(io.StringIO(wins_csv(counts)))
    assert row["judge"] == "a judge"
    shown = [int(row[name]) for name in ("wins", "ties", "losses", "no_result")]
    assert sum(shown) == 40
    assert shown[3] == int(row["unparsable_replies"]) > 0


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"]


@pytest.mark.parametrize("text", FORMULAS)
def test_no_text_is_a_formula_and_numbers_stay(text):
    answers = [
        made.answer(method, preference=text, data_set=text, scores={text: -2.0})
        for method in (text, "=b")
    ]
    first, *_ = csv.DictReader(io.StringIO(scores_csv([score_table(answers, text)])))
    names = [first[name] for name in ("score", "preference", "method", "data_set")]
    assert all(name.startswith("'") and name[1:].endswith(text.strip()) for name in names)
    assert first["mean"] == "-2.0"
    (count,) = win_counts(made.outcomes((text,), judge=text)[:1])
    (row,) = csv.DictReader(io.StringIO(wins_csv([count])))
    assert row["judge"].startswith("'")
    assert row["against"].startswith("'")
    assert row["method"] == "amulet"
