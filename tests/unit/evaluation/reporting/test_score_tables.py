"""The tables of scores and outcomes have the right means, and say what these lack."""

from __future__ import annotations

import csv
import io

import pytest

from amulet_integrations.evaluation.reporting.csv_files import (
    scores_csv,
)
from amulet_integrations.evaluation.reporting.result_tables import (
    strength_text,
)
from amulet_integrations.evaluation.reporting.score_tables import (
    outcome_text,
    score_table,
    score_text,
)
from tests.unit.evaluation import made


def means(block):
    return {
        row.method: [mean.estimate.mean for mean in (*row.means, row.average)] for row in block.rows
    }


def test_means_by_preference_method_and_data_set():
    table = score_table(made.small(), "reward")
    assert table.data_sets == ("sea", "sky")
    assert [block.preference for block in table.blocks] == ["creative", "concise", None]
    assert means(table.blocks[0]) == {"base": [2, 10, 6], "amulet": [5, 1, 3]}
    assert means(table.blocks[2]) == {"base": [2.5, 10.5, 6.5], "amulet": [5.5, 1.5, 3.5]}


def test_a_missing_cell_is_a_dash_and_no_zero():
    answers = [*made.small(preferences=("creative",)), made.answer("pref", data_set="sky")]
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
    text = score_text(score_table(made.small(score, (preference,)), score))
    assert sorted(strong(text)) == sorted(best)


def test_all_alike_has_no_best():
    answers = [made.answer(method, scores={"reward": 1.0}) for method in ("base", "pref")]
    assert strong(score_text(score_table(answers, "reward"))) == []


def test_one_data_set_has_no_average():
    text = score_text(score_table(made.small()[:4], "reward"))
    assert text.header == ("method", "sea")


def test_outcomes_have_a_column_for_each_preference_with_a_target():
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


def lacking(score="lexical_variety"):
    """Of four answers by amulet one has the score, and of base's all have it."""
    some = [made.answer("base", index=index, scores={score: 0.5}) for index in range(4)]
    some += [made.answer("amulet", index=index) for index in range(3)]
    return [*some, made.answer("amulet", index=3, scores={score: 0.75})]


def test_a_mean_of_fewer_answers_says_of_how_many():
    table = score_table(lacking(), "lexical_variety")
    text = score_text(table)
    base, amulet = text.groups[0].rows
    assert str(base[1]) == "0.500 [0.500, 0.500]"
    assert str(amulet[1]) == "0.750 1 of 4"
    assert "of how many the mean is" in text.caption
    assert "of how many" not in score_text(score_table(made.small(), "reward")).caption
    (row,) = (
        row
        for row in csv.DictReader(io.StringIO(scores_csv([table])))
        if (row["method"], row["data_set"]) == ("amulet", "sea")
    )
    assert (row["measured"], row["answers"]) == ("1", "4")


def one_sided(score):
    """base and pref have the score in both data sets, amulet only in the easier one."""
    values = {("easy", "base"): 0.8, ("hard", "base"): -0.2, ("easy", "pref"): 1.0}
    values |= {("hard", "pref"): 0.0, ("easy", "amulet"): 0.9, ("hard", "amulet"): None}
    return [
        made.answer(
            method,
            index=index,
            data_set=data_set,
            scores={} if value is None else {score: value},
        )
        for (data_set, method), value in values.items()
        for index in range(2)
    ]


def test_a_mean_that_lacks_a_data_set_is_not_the_best_and_says_so():
    answers = one_sided("reward")
    for answered in (answers, [answer for answer in answers if answer.scores]):
        table = score_table(answered, "reward")
        text = score_text(table)
        assert strong(text) == [("pref", 1), ("pref", 2), ("pref", 3)]
        (amulet,) = (row for row in text.groups[0].rows if row[0].text == "amulet")
        assert amulet[3].text == "0.900"
        assert amulet[3].small.endswith("1 of 2 data sets")
        assert "not compared" in text.caption
        read = csv.DictReader(io.StringIO(scores_csv([table])))
        shares = {
            row["method"]: (row["data_sets"], row["all_data_sets"])
            for row in read
            if row["data_set"] == "average"
        }
        assert shares == {"base": ("2", "2"), "pref": ("2", "2"), "amulet": ("1", "2")}


def test_a_whole_mean_alone_is_not_the_best():
    answers = [answer for answer in one_sided("reward") if answer.method != "base"]
    assert ("pref", 3) not in strong(score_text(score_table(answers, "reward")))


def test_a_data_set_in_which_nobody_has_the_score_is_missing_to_nobody():
    answers = [answer for answer in one_sided("reward") if answer.data_set == "easy"]
    answers += [made.answer(method, data_set="hard") for method in ("base", "pref", "amulet")]
    text = score_text(score_table(answers, "reward"))
    assert ("pref", 3) in strong(text)
    assert "data sets" not in str([str(row[3]) for row in text.groups[0].rows])


def test_where_words_count_it_says_how_many_answers_were_cut_off():
    def answers(reasons, preference="verbose"):
        return [
            made.answer(
                method,
                index=index,
                preference=preference,
                finish_reason=reason,
                scores={"words": 3.0, "lexical_variety": 0.5},
            )
            for method in ("base", "amulet")
            for index, reason in enumerate(reasons[method])
        ]

    reasons = {"base": ["length", "length", "stop"], "amulet": ["stop", "stop", "length"]}
    caption = outcome_text([*answers(reasons), *answers(reasons, "creative")]).caption
    assert caption.endswith("whose words are too few: base 2 of 3, amulet 1 of 3.")
    whole = {"base": ["stop"], "amulet": ["stop"]}
    assert "limit" not in outcome_text(answers(whole)).caption
    assert "limit" not in outcome_text(answers(reasons, "creative")).caption


def test_an_outcome_that_lacks_a_data_set_is_not_the_best_and_says_so():
    text = outcome_text(one_sided("lexical_variety"))
    assert strong(text) == [("pref", 1)]
    (amulet,) = (row for row in text.groups[0].rows if row[0].text == "amulet")
    assert amulet[1].small.endswith("2 of 4, 1 of 2 data sets")
    assert "not compared" in text.caption


def test_outcomes_and_strengths_say_of_how_many_answers_they_are():
    text = outcome_text(lacking())
    assert [str(row[1]) for row in text.groups[0].rows] == ["0.500 [0.500, 0.500]", "0.750 1 of 4"]
    assert "of how many the mean is" in text.caption
    answers = [
        answer.model_copy(
            update={"scores": {"preference_ratio": 1, "pref_nll": 1, "broken": 0} | extra}
        )
        for at, answer in enumerate(
            made.answer(method, index=index)
            for method in ("pref", "amulet@1", "amulet@2")
            for index in range(2)
        )
        for extra in [{"words": 9.0} if at else {}]
    ]
    whole = strength_text([made.frontier(answers)], [score_table(answers, "words")])
    assert [str(row[1]) for row in whole.groups[0].rows] == ["9.0 1 of 2", "9.0", "9.0"]
    assert "of how many the mean is" in whole.caption


def test_an_unmeasured_score_is_mentioned_once():
    answers = [
        made.answer(preference=name, scores={"lexical_variety": 0.5})
        for name in ("creative", "verbose", "concise")
    ]
    assert outcome_text(answers).caption.count("Words was not measured.") == 1
