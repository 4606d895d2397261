"""The tables of comparisons, wins and the frontier have the right numbers and words."""

from __future__ import annotations

import csv
import io

from amulet_integrations.decoding.strength import PRESETS
from amulet_integrations.evaluation.analysis.comparisons import compare_methods
from amulet_integrations.evaluation.judging.win_counts import win_counts
from amulet_integrations.evaluation.reporting.csv_files import (
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
    score_table,
)
from tests.unit.evaluation import made


def test_comparisons_as_text():
    text = comparison_text(
        compare_methods(made.small(), "reward", [("amulet", "base")], ["creative"])
    )
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
    found = made.frontier(answers)
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
    found = made.frontier([made.measured(method, 0, *point) for method, point in points.items()])
    words = recommendation(found)
    assert words.startswith("No point keeps all limits beside pref: pref NLL up by")
    assert (
        "amulet@p=2 (guidance_scale=2, max_kl=None), past its limits in pref NLL (+0.25)" in words
    )
    assert frontier_text(found).groups[0].rows[2][-1].text == "pref NLL, broken answers"
    points = {"pref": (0.5, 1.0), "amulet@p=2": (0.4, 1.0), "amulet@p=3": (0.3, 1.0)}
    found = made.frontier([made.measured(method, 0, *point) for method, point in points.items()])
    assert recommendation(found).startswith("Nothing is recommended: no point within the limits")
    assert not any(row[0].strong for row in frontier_text(found).groups[0].rows)


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
    text = comparison_text(
        compare_methods(made.small(), "reward", [("amulet", "base")], ["creative"])
    )
    at = text.header.index("questions")
    assert text.groups[0].rows[0][at].text == "3"
