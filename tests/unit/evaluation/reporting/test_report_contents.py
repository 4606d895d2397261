"""What a report holds: which methods, which frontier, beside what."""

from __future__ import annotations

import pytest

from amulet_integrations.decoding import AmuletParams
from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation import Method
from amulet_integrations.evaluation.reporting.report_contents import MOST_POINTS, ReportContents
from tests.unit.evaluation import made


def shown(contents):
    return [row.method for row in contents.tables[0].blocks[0].rows]


def test_few_points_are_in_every_table():
    strengths = (1, 2, 10)[: MOST_POINTS - 1]
    contents = ReportContents(made.evaluation(made.run(questions=2, strengths=strengths)))
    assert contents.left_out == ()
    assert shown(contents) == [*made.METHODS, "amulet@1", "amulet@2", "amulet@10"]


def test_of_many_points_the_first_and_the_recommended_one_stay():
    answers = made.run(questions=4, methods=("base", "pref"))
    methods = made.named(
        "base", "pref", "amulet@10", *(f"amulet@{n}" for n in (1, 2, 5, 30, 60, 200))
    )
    contents = ReportContents(made.evaluation(answers, methods=methods))
    assert contents.frontiers[0].recommended.method == "amulet@2"
    assert set(shown(contents)) == {"base", "pref", "amulet@10", "amulet@2"}
    assert contents.left_out == ("amulet@1", "amulet@5", "amulet@30", "amulet@60", "amulet@200")
    rows = contents.whole_tables[0].blocks[0].rows
    assert len(rows) == 9
    assert len(contents.frontiers[0].points) == 7


def test_names_do_not_matter():
    called = {"base": "plain", "pref": "prompted", "amulet@1": "light", "amulet@2": "heavy"}
    answers = [
        answer.model_copy(update={"method": called[answer.method]})
        for answer in made.run(questions=3, methods=("base", "pref"), strengths=(1, 2))
    ]
    methods = (
        Method(name="plain", kind="base"),
        Method(name="prompted", kind="pref"),
        Method(name="light", kind="amulet", params=AmuletParams(iterations=1)),
        Method(name="heavy", kind="amulet", params=AmuletParams(iterations=2)),
    )
    contents = ReportContents(made.evaluation(answers, methods=methods))
    assert [point.method for point in contents.frontiers[0].points] == ["light", "heavy"]
    assert {(one.method, one.against) for one in contents.comparisons} == {
        *(("light", other) for other in ("plain", "prompted", "heavy")),
        *((other, "prompted") for other in ("plain", "heavy")),
    }


def test_amulet_is_compared_with_linear_alignment_and_tests_of_a_score_are_corrected_together():
    """Words are tested for both preferences that ask for some: by all of these tests."""
    methods = ("pref", "linear_alignment", "amulet")
    answers = [
        made.answer(method, index=index, preference=name, scores={"words": 10.0 * place + index})
        for name in ("concise", "verbose")
        for place, method in enumerate(methods)
        for index in range(12)
    ]
    found = ReportContents(made.evaluation(answers)).comparisons
    assert [(one.preference, one.method, one.against) for one in found] == [
        (name, *pair)
        for name in ("concise", "verbose")
        for pair in (
            ("amulet", "pref"),
            ("amulet", "linear_alignment"),
            ("linear_alignment", "pref"),
        )
    ]
    assert [one.difference.mean for one in found] == pytest.approx([20, 10, 10] * 2)
    assert [one.p_value for one in found] == pytest.approx([2 / 2**12] * 6)
    assert [one.holm for one in found] == pytest.approx([6 * 2 / 2**12] * 6)


def test_a_negative_allowance_is_refused_without_a_frontier_too():
    with pytest.raises(EvaluationError, match="allowance=-1"):
        ReportContents(made.evaluation([made.answer()]), allowance=-1)


def test_judges_are_counted_apart():
    outcomes = [
        *made.outcomes(("base",), judge="ann"),
        *made.outcomes(("base",), judge="bob", seed=2),
    ]
    contents = ReportContents(made.evaluation([made.answer()], outcomes))
    assert [count.judge for count in contents.counts] == ["ann", "bob"]
    assert {(count.judge, count.preference) for count in contents.counts_by_preference} == {
        (judge, name) for judge in ("ann", "bob") for name in ("creative", "concise")
    }
