"""The paper's table holds the right numbers in every form."""

from __future__ import annotations

import csv
import io
import unicodedata

import pytest
from markdown_it import MarkdownIt

from amulet_integrations.decoding.strength import PRESETS
from amulet_integrations.evaluation.analysis.comparisons import compare_methods
from amulet_integrations.evaluation.analysis.frontier import find_frontier
from amulet_integrations.evaluation.judging.win_counts import win_counts
from amulet_integrations.evaluation.reporting.csv_files import (
    comparisons_csv,
    scores_csv,
    wins_csv,
)
from amulet_integrations.evaluation.reporting.result_tables import (
    comparison_text,
    frontier_text,
    recommendation,
    strength_text,
    win_text,
)
from amulet_integrations.evaluation.reporting.score_tables import (
    outcome_text,
    score_table,
    score_text,
)
from amulet_integrations.evaluation.reporting.text_tables import (
    format_number,
    format_p_value,
    terminal_table,
    to_markdown,
)
from tests.unit.evaluation import made


def frontier(answers, **more):
    return find_frontier(answers, made.evaluation(answers).methods, **more)


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
        row.method: [mean.estimate.mean for mean in (*row.means, row.average)] for row in block.rows
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
    header, rows, words = terminal_table(score_text(score_table(small(), "reward")))
    assert words == 2
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
    assert (found["measured"], found["answers"]) == ("6", "6")


def test_csv_of_comparisons_and_wins():
    comparisons = compare_methods(small(), "reward", [("amulet", "base")])
    (row,) = csv.DictReader(io.StringIO(comparisons_csv(comparisons)))
    assert (row["method"], row["against"], float(row["difference"])) == ("amulet", "base", -3.0)
    counts = win_counts(made.outcomes(("base",)))
    (row,) = csv.DictReader(io.StringIO(wins_csv(counts)))
    assert row["judge"] == "a judge"
    shown = [int(row[name]) for name in ("wins", "ties", "losses", "no_result")]
    assert sum(shown) == 40
    assert shown[3] == int(row["unparsable_replies"]) > 0


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


def test_comparisons_as_text():
    text = comparison_text(compare_methods(small(), "reward", [("amulet", "base")], ["creative"]))
    assert text.title == "Differences between methods"
    assert text.groups[0].label == "Reward, creative"
    assert [str(cell) for cell in text.groups[0].rows[0]][:2] == ["amulet", "base"]
    assert "All tests of one score" in text.caption
    assert comparison_text([]) is None


def test_wins_as_text_show_unreadable_replies():
    text = win_text(win_counts(made.outcomes(("base",))))
    assert text.header[-2:] == ("no result", "unreadable replies")
    assert int(text.groups[0].rows[0][-1].text) > 0
    assert win_text([]) is None


def test_a_frontier_as_text_names_the_pair_and_the_rule():
    answers = made.run()
    found = frontier(answers)
    text = frontier_text(found)
    assert [row[0].text for row in text.groups[0].rows if row[0].strong] == ["amulet@2"]
    words = recommendation(found)
    assert words.startswith(
        "Recommended: amulet@2 (guidance_scale=2.463, max_kl=None), the largest"
    )
    assert "pref NLL up by at most 0.1 nats per token, repeated pairs up by at most 0.03" in words
    assert "relevance" not in words  # was not measured
    assert f"{found.recommended.gain.mean:+.3f} nats per token beside pref's" in words
    rows = {row[0].text: [str(cell) for cell in row[1:]] for row in text.groups[0].rows}
    assert rows["pref"][:2] == ["1", "none"]
    scale, bound = PRESETS["default"]
    assert rows["amulet"][:2] == [f"{scale:g}", f"{bound:g}"]
    assert rows["amulet"][-1] == "none"
    assert rows["amulet@200"][-1] == "pref NLL"
    whole = strength_text([found], [score_table(answers, "reward"), score_table(answers, "words")])
    assert whole.header == ("method", "reward", "words")
    assert len(whole.groups[0].rows) == 9


def test_a_frontier_without_a_point_in_its_limits_says_so():
    points = {"pref": (0.0, 1.0), "amulet@p=2": (0.4, 1.25), "amulet@p=3": (0.9, 9.0)}
    found = frontier([made.measured(method, 0, *point) for method, point in points.items()])
    words = recommendation(found)
    assert words.startswith("No point keeps all limits beside pref: pref NLL up by")
    assert (
        "amulet@p=2 (guidance_scale=2, max_kl=None), past its limits in pref NLL (+0.25)" in words
    )
    assert frontier_text(found).groups[0].rows[2][-1].text == "pref NLL, broken answers"
    points = {"pref": (0.5, 1.0), "amulet@p=2": (0.4, 1.0), "amulet@p=3": (0.3, 1.0)}
    found = frontier([made.measured(method, 0, *point) for method, point in points.items()])
    assert recommendation(found).startswith("Nothing is recommended: no point within the limits")
    assert not any(row[0].strong for row in frontier_text(found).groups[0].rows)


def test_numbers():
    assert format_number(-0.0001, 3) == "0.000"
    assert format_number(0.0001, 3, signed=True) == "0.000"
    assert format_number(1.5, 1, signed=True) == "+1.5"
    assert format_p_value(0.0004) == "<0.001"
    assert format_p_value(0.05) == "0.050"


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
    assert "of how many" not in score_text(score_table(small(), "reward")).caption
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
    whole = strength_text([frontier(answers)], [score_table(answers, "words")])
    assert [str(row[1]) for row in whole.groups[0].rows] == ["9.0 1 of 2", "9.0", "9.0"]
    assert "of how many the mean is" in whole.caption


def test_an_unmeasured_score_is_mentioned_once():
    answers = [
        made.answer(preference=name, scores={"lexical_variety": 0.5})
        for name in ("creative", "verbose", "concise")
    ]
    assert outcome_text(answers).caption.count("Words was not measured.") == 1


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


HOSTILE = [
    "![x](http://a.example/x.png)",
    "[x](http://a.example)",
    "<img src=x onerror=y> & <b>",
    "`code` | ``",
    "*x* __y__ ~~z~~ _w_",
    "\\",
    "# x #",
    "$a$ http://a.example www.a.example",
    "one\n\n| two |",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_shows_every_name_as_it_is(text):
    """What another program makes of the Markdown: a heading, a text and a table of plain words."""
    answers = [
        made.answer(method, preference=text, data_set=text, scores={text: 1.0})
        for method in (text, "b")
    ]
    counts = win_counts(made.outcomes((text,), judge=text))
    tables = [score_text(score_table(answers, text)), win_text(counts)]
    parsed = MarkdownIt("commonmark").enable("table").parse("\n".join(map(to_markdown, tables)))
    kinds = {token.type for token in parsed}
    assert kinds <= {
        *("heading_open", "heading_close", "paragraph_open", "paragraph_close", "inline"),
        *(f"{part}_{end}" for part in ("table", "thead", "tbody", "tr", "th", "td")
          for end in ("open", "close")),
    }  # fmt: skip
    inner = [child for token in parsed for child in token.children or ()]
    assert {child.type for child in inner} <= {
        "text",
        "text_special",
        "strong_open",
        "strong_close",
    }
    shown = ["".join(c.content for c in token.children) for token in parsed if token.children]
    words = " ".join(text.split())
    assert shown[0] == " ".join(text.replace("_", " ").split())  # the score's, as a heading
    assert shown[1:].count(words) == 4  # data set, preference, method, the method judged against
    assert any(f"The judge is {words}." in part for part in shown)
    written = "\n".join(map(to_markdown, tables))
    assert "http://" not in written
    assert "www.a" not in written


def test_control_characters_are_shown_and_not_obeyed():
    evil = "x\x1b[2J\x07\r\x9b2J\ny"
    answers = [
        made.answer(method, preference=evil, data_set=evil, scores={evil: 1.0})
        for method in (evil, "b")
    ]
    tables = [
        score_text(score_table(answers, evil)),
        win_text(win_counts(made.outcomes((evil,), judge=evil))),
    ]
    for table in tables:
        text = str(table)
        assert "x␛[2J" in text
        assert not [c for c in text if unicodedata.category(c) == "Cc" and c != "\n"]
        grouped = [row for group in table.groups for row in group.rows]
        assert len(text.splitlines()) == 3 + len(grouped)  # title, header and caption


def test_plain_text_has_aligned_columns():
    lines = str(score_text(score_table(small("words", ("formal",)), "words"))).splitlines()
    assert lines == [
        "Words",
        "        method             sea   sky         average",
        "formal  base    2.0 [1.0, 3.0]  10.0  6.0 [5.5, 6.5]",
        "        amulet  5.0 [4.0, 6.0]   1.0  3.0 [2.5, 3.5]",
        "How many words the answer has.",
    ]


def test_two_judges_are_separate_and_a_single_one_is_named():
    one, other = (
        made.outcomes(("base",), judge="ann"),
        made.outcomes(("base",), judge="bob", seed=2),
    )
    alone = win_text(win_counts(one))
    assert [group.label for group in alone.groups] == ["all"]
    assert alone.caption.startswith("The judge is ann. ")
    both = win_text(win_counts([*one, *other]))
    assert [group.label for group in both.groups] == ["all, judged by ann", "all, judged by bob"]
    assert "The judge is" not in both.caption
    for group, outcomes in zip(both.groups, (one, other), strict=True):
        (row,) = group.rows
        wins = sum(outcome.result == "win" for outcome in outcomes)
        assert (row[0].text, row[1].text, row[3].text) == ("amulet", "base", str(wins))
    read = csv.DictReader(io.StringIO(wins_csv(win_counts([*one, *other]))))
    assert [row["judge"] for row in read] == ["ann", "bob"]


def test_comparisons_say_on_how_many_questions():
    text = comparison_text(compare_methods(small(), "reward", [("amulet", "base")], ["creative"]))
    at = text.header.index("questions")
    assert text.groups[0].rows[0][at].text == "3"
