"""The paper's table holds the right numbers in every form."""

from __future__ import annotations

import csv
import io

import pytest

from amulet_integrations.evaluation.comparisons import compare_methods
from amulet_integrations.evaluation.judging import win_counts
from amulet_integrations.evaluation.reporting.comparison_tables import comparison_text, win_text
from amulet_integrations.evaluation.reporting.csv_files import (
    comparisons_csv,
    scores_csv,
    wins_csv,
)
from amulet_integrations.evaluation.reporting.strength_tables import (
    recommendation,
    strength_text,
    trade_off_text,
)
from amulet_integrations.evaluation.reporting.tables import outcome_text, score_table, score_text
from amulet_integrations.evaluation.reporting.text_tables import (
    number,
    p_value,
    terminal_table,
    to_markdown,
)
from amulet_integrations.evaluation.trade_off import trade_off
from tests.unit.evaluation import made


def small(score="reward", preferences=("creative", "concise")):
    """Two data sets of unequal size, two methods, whose means are easily worked out."""
    values = {("sea", "base"): [1, 3], ("sea", "amulet"): [4, 6]}
    values |= {("sky", "base"): [10], ("sky", "amulet"): [1]}
    return [
        made.answer(
            method, index=index, preference=name, data_set=data_set, scores={score: value + extra}
        )
        for extra, name in enumerate(preferences)
        for (data_set, method), held in values.items()
        for index, value in enumerate(held)
    ]


def means(block):
    return {
        row.method: [*(cell and cell.mean for cell in row.cells), row.average.mean]
        for row in block.rows
    }


def test_means_by_preference_method_and_data_set():
    table = score_table(small(), "reward")
    assert table.data_sets == ("sea", "sky")
    assert [block.preference for block in table.blocks] == ["creative", "concise", None]
    assert means(table.blocks[0]) == {"base": [2, 10, 6], "amulet": [5, 1, 3]}
    assert means(table.blocks[2]) == {"base": [2.5, 10.5, 6.5], "amulet": [5.5, 1.5, 3.5]}


def test_a_missing_cell_is_a_dash_and_no_zero():
    answers = [*small(preferences=("creative",)), made.answer("pref", data_set="sky")]
    text = score_text(score_table(answers, "reward"))
    (pref,) = (row for row in text.groups[0].rows if row[0].text == "pref")
    assert [cell.text for cell in pref[1:]] == ["–"] * 3  # noqa: RUF001


def strong(text):
    return [
        (row[0].text, place)
        for group in text.groups
        for row in group.rows
        for place, cell in enumerate(row)
        if cell.strong
    ]


@pytest.mark.parametrize(
    ("score", "preference", "best"),
    [
        ("reward", "creative", [("base", 2), ("base", 3), ("amulet", 1)]),
        ("fluency_nll", "creative", [("base", 1), ("amulet", 2), ("amulet", 3)]),
        ("words", "concise", [("base", 1), ("amulet", 2), ("amulet", 3)]),
        ("words", "verbose", [("base", 2), ("base", 3), ("amulet", 1)]),
        ("words", "formal", []),
        ("preference_ratio", "creative", []),  # raising it is no merit
    ],
)
def test_the_best_is_strong_where_a_score_has_a_better_side(score, preference, best):
    text = score_text(score_table(small(score, (preference,)), score))
    assert sorted(strong(text)) == sorted(best)


def test_all_alike_has_no_best():
    answers = [made.answer(method, scores={"reward": 1.0}) for method in ("base", "pref")]
    assert strong(score_text(score_table(answers, "reward"))) == []


def test_one_data_set_has_no_average():
    text = score_text(score_table(small()[:4], "reward"))
    assert text.header == ("method", "sea")


def test_markdown_keeps_the_table_whole_whatever_names_hold():
    answers = [
        made.answer("a|b", preference="*x*\n| y", scores={"reward": value}) for value in (1, 2)
    ]
    lines = to_markdown(score_text(score_table(answers, "reward"))).strip().splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 3
    assert {row.replace("\\|", "").count("|") for row in rows} == {4}
    assert "\\*x\\* \\| y" in rows[-1]


def test_the_best_is_bold_in_markdown_with_its_interval_beside():
    text = to_markdown(score_text(score_table(small(), "reward")))
    assert "| creative | base | 2.000 [1.000, 3.000] | **10.000** |" in text


def test_a_terminal_gets_strings():
    header, rows = terminal_table(score_text(score_table(small(), "reward")))
    assert header == ["", "method", "sea", "sky", "average"]
    assert rows[0][:2] == ["creative", "base"]
    assert rows[1][:2] == ["", "amulet"]
    assert all(len(row) == 5 and all(isinstance(cell, str) for cell in row) for row in rows)


def test_csv_holds_every_number():
    read = list(csv.DictReader(io.StringIO(scores_csv([score_table(small(), "reward")]))))
    assert len(read) == 3 * 2 * 3
    (found,) = (
        row
        for row in read
        if (row["preference"], row["method"], row["data_set"]) == ("all", "base", "average")
    )
    assert float(found["mean"]) == 6.5
    assert found["questions"] == "3"


def test_csv_of_comparisons_and_wins():
    comparisons = compare_methods(small(), "reward", "base")
    (row,) = csv.DictReader(io.StringIO(comparisons_csv(comparisons)))
    assert (row["method"], row["against"], float(row["difference"])) == ("amulet", "base", -3.0)
    counts = win_counts(made.outcomes(("base",)))
    (row,) = csv.DictReader(io.StringIO(wins_csv(counts)))
    shown = [int(row[name]) for name in ("wins", "ties", "losses", "no_result")]
    assert sum(shown) == 40
    assert shown[3] == int(row["unparsable_replies"]) > 0


def test_outcomes_have_a_column_for_each_preference_with_an_aim():
    answers = made.run(preferences=("creative", "formal", "concise", "uplifting"), strengths=())
    text = outcome_text(answers)
    assert text.header == (
        "method",
        "creative: more lexical variety",
        "concise: fewer words",
    )
    assert "Sentiment was not measured." in text.caption
    assert len(text.groups[0].rows) == len(made.METHODS)
    assert outcome_text([made.answer(preference="formal")]) is None


def test_comparisons_as_text():
    text = comparison_text(compare_methods(small(), "reward", "base", "creative"))
    assert text.title == "Differences from base"
    assert text.groups[0].label == "Reward, creative"
    assert [str(cell) for cell in text.groups[0].rows[0]][:1] == ["amulet"]
    assert comparison_text([]) is None


def test_wins_as_text_show_what_could_not_be_read():
    text = win_text(win_counts(made.outcomes(("base",))))
    assert text.header[-2:] == ("no result", "unreadable replies")
    assert int(text.groups[0].rows[0][-1].text) > 0
    assert win_text([]) is None


def test_strengths_as_text_with_the_gain_that_is_kept():
    answers = made.run()
    curve = trade_off(answers)
    text = trade_off_text(curve)
    assert [row[0].text for row in text.groups[0].rows if row[0].strong] == ["amulet@2"]
    assert "Recommended: amulet@2" in recommendation(curve)
    assert f"{curve.gain:+.3f} nats" in recommendation(curve)
    whole = strength_text([curve], [score_table(answers, "reward"), score_table(answers, "words")])
    assert whole.header == ("method", "reward", "words")
    assert len(whole.groups[0].rows) == 8
    assert "No strength" in recommendation(trade_off(answers, allowance=0.0))


def test_numbers():
    assert number(-0.0001, 3) == "0.000"
    assert number(0.0001, 3, signed=True) == "0.000"
    assert number(1.5, 1, signed=True) == "+1.5"
    assert p_value(0.0004) == "<0.001"
    assert p_value(0.05) == "0.050"
