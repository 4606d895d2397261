"""Wins are counted by judge and method, and rates are means over questions and data sets."""

from __future__ import annotations

import itertools

import pytest

from amulet_integrations.evaluation.data.record_types import Outcome
from amulet_integrations.evaluation.judging.win_counts import win_counts


def test_counts_apart_by_preference():
    outcomes = [
        Outcome(data_set="sea", index=1, preference=name, method="x", against="y", result=result)
        for name, result in (("creative", "win"), ("concise", "lose"), ("concise", "tie"))
    ]
    apart = win_counts(outcomes, by_preference=True)
    assert [(c.preference, c.wins, c.ties, c.losses) for c in apart] == [
        ("creative", 1, 0, 0),
        ("concise", 0, 1, 1),
    ]


def outcome(result, **more):
    fields = {"data_set": "sea", "index": 1, "preference": "creative", "method": "x"}
    return Outcome(**{**fields, "against": "y", "result": result, **more})


@pytest.mark.parametrize("by_preference", [False, True])
def test_judges_are_counted_apart_in_order_of_appearance(by_preference):
    verdicts = [("strict", "lose"), ("kind", "win"), ("strict", "tie"), ("kind", "win")]
    outcomes = [outcome(result, judge=judge) for judge, result in verdicts]
    counts = win_counts(outcomes, by_preference=by_preference)
    assert [(c.judge, c.method, c.against, c.wins, c.ties, c.losses) for c in counts] == [
        ("strict", "x", "y", 0, 1, 1),
        ("kind", "x", "y", 2, 0, 0),
    ]
    assert [c.rate.mean for c in counts] == [0.25, 1.0]


def of_data_sets(**results):
    """A pair for each result of a data set, each to a question of its own."""
    return [
        outcome(result, data_set=data_set, index=index)
        for data_set, all_of_it in results.items()
        for index, result in enumerate(all_of_it)
    ]


def test_the_interval_of_a_rate_is_that_of_whole_questions():
    """A thousand verdicts on two questions tell as little as two of them."""
    few = of_data_sets(sea=["win", "lose"])
    (count,) = win_counts(few * 500)
    assert count.rate.questions == 2
    assert (count.rate.low, count.rate.mean, count.rate.high) == (0.0, 0.5, 1.0)


def test_data_sets_have_equal_weight_in_a_rate_however_large_they_are():
    (count,) = win_counts(of_data_sets(large=["win"] * 90, small=["lose"] * 10))
    assert (count.wins, count.losses) == (90, 10)
    assert count.rate.mean == 0.5
    # Questions are drawn again within their data set, where each is like the others.
    assert (count.rate.low, count.rate.high) == (0.5, 0.5)
    assert count.p_value == 1.0


def share_of_worlds_as_far_from_even(worths):
    """The share of all ways to change sides in which as many are won more than lost, or lost."""
    leads = [worth - 0.5 for worth in worths]
    worlds = [
        abs(sum(sign * lead for sign, lead in zip(signs, leads, strict=True)))
        for signs in itertools.product((-1, 1), repeat=len(leads))
    ]
    return sum(world >= abs(sum(leads)) for world in worlds) / len(worlds)


@pytest.mark.parametrize(
    ("results", "worths"),
    [
        (["win"] * 10, [1] * 10),
        (["win"] * 6 + ["lose"] * 2, [1] * 6 + [0] * 2),
        (["lose"] * 5 + ["tie"] * 3 + ["win"], [0] * 5 + [0.5] * 3 + [1]),
        (["tie"] * 4, [0.5] * 4),
        (["win", "lose", None], [1, 0]),
    ],
)
def test_a_rate_is_tested_against_one_half(results, worths):
    (count,) = win_counts(of_data_sets(sea=results))
    assert count.p_value == pytest.approx(share_of_worlds_as_far_from_even(worths))


def test_the_answers_to_one_question_change_sides_together():
    (count,) = win_counts([outcome("win", index=index) for index in (1, 2) for _ in range(50)])
    assert count.p_value == 0.5


def test_without_a_result_there_is_neither_a_rate_nor_a_test():
    (count,) = win_counts([outcome(None, unparsable=2)])
    assert (count.rate, count.p_value) == (None, None)
