"""Intervals and tests against closed forms and against trying everything."""

from __future__ import annotations

import tracemalloc
from itertools import product

import numpy as np
import pytest

from amulet_integrations.evaluation.analysis.comparisons import (
    compare_methods,
    mean_of,
    method_pairs,
)
from amulet_integrations.evaluation.analysis.statistics import estimate, holm, sign_flip_p_value
from tests.unit.evaluation import made


def of(values):
    return {number: [value] for number, value in enumerate(values)}


def all_means(values):
    """Every resample of the values, each as likely as any other."""
    return [float(np.mean(drawn)) for drawn in product(values, repeat=len(values))]


def exact_p_value(parts):
    seen = abs(sum(parts))
    signs = product([1, -1], repeat=len(parts))
    worlds = [abs(sum(s * p for s, p in zip(sign, parts, strict=True))) for sign in signs]
    return np.mean([world >= seen - 1e-12 for world in worlds])


def test_the_interval_is_that_of_all_resamples():
    values = [0.0, 1.0, 5.0, 7.0, 30.0]
    found = estimate([of(values)], resamples=20_000)
    exact = np.quantile(all_means(values), [0.025, 0.975])
    assert found.mean == pytest.approx(np.mean(values))
    assert [found.low, found.high] == pytest.approx(exact, abs=0.5)


def test_the_interval_of_many_questions_is_the_normal_one():
    values = np.random.default_rng(1).normal(3.0, 2.0, 400)
    found = estimate([of(values)])
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert found.low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.15 * half)


@pytest.mark.parametrize(("level", "deviations"), [(0.8, 1.2816), (0.95, 1.96), (0.99, 2.5758)])
def test_the_level_sets_the_width_of_the_interval(level, deviations):
    values = np.random.default_rng(1).normal(3.0, 2.0, 100)
    found = estimate([of(values)], level=level, resamples=50_000)
    width = 2 * deviations * values.std() / np.sqrt(len(values))
    assert found.high - found.low == pytest.approx(width, rel=0.02)


def test_intervals_of_very_many_questions_take_little_memory():
    tracemalloc.start()
    try:
        values = np.random.default_rng(1).normal(3.0, 2.0, 5000)
        found = estimate([of(values)])
        sign_flip_p_value([of(np.ones(20_000))], flips=1000)
        now, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    half = 1.96 * values.std() / np.sqrt(5000)
    assert found.low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.15 * half)
    assert most < 60e6
    assert now < 10e6


def test_questions_are_the_unit_and_not_answers():
    values = list(np.random.default_rng(2).normal(0, 1, 40))
    alone = estimate([of(values)])
    fourfold = estimate([{number: [value] * 4 for number, value in enumerate(values)}])
    assert (fourfold.low, fourfold.high) == pytest.approx((alone.low, alone.high), abs=1e-6)
    assert fourfold.questions == 40


def test_data_sets_weigh_the_same_whatever_their_size():
    found = estimate([of([1.0] * 30), of([5.0] * 3)])
    assert found.mean == found.low == found.high == 3.0
    assert found.questions == 33


def test_data_sets_are_drawn_independently():
    values = np.random.default_rng(3).normal(0, 1, 50)
    one = estimate([of(values)])
    two = estimate([of(values), of(values)])
    shrunk = (two.high - two.low) / (one.high - one.low)
    assert shrunk == pytest.approx(1 / np.sqrt(2), abs=0.08)


def test_the_same_seed_gives_the_same_interval():
    samples = [of(np.random.default_rng(4).normal(0, 1, 30))]
    assert estimate(samples, seed=4) == estimate(samples, seed=4)
    assert estimate(samples, seed=4) != estimate(samples, seed=5)


def test_one_question_has_no_interval_and_none_has_no_mean():
    found = estimate([of([2.0])])
    assert (found.mean, found.low, found.high) == (2.0, None, None)
    assert estimate([]) is None
    assert estimate([{1: []}]) is None


@pytest.mark.parametrize("size", [1, 2, 5, 8])
def test_few_questions_are_flipped_in_every_way(size):
    values = list(np.random.default_rng(size).normal(0.5, 1, size))
    assert sign_flip_p_value([of(values)]) == exact_p_value(values)


def test_differences_all_of_one_sign_give_the_least_p_value():
    assert sign_flip_p_value([of([1.0, 2.0, 3.0, 4.0, 5.0])]) == 2 / 2**5
    assert sign_flip_p_value([of([0.0] * 5)]) == 1.0
    assert sign_flip_p_value([]) is None


def test_many_questions_are_flipped_at_random():
    values = list(np.random.default_rng(7).normal(0.25, 1, 15))
    drawn = sign_flip_p_value([of(values)])
    assert drawn == pytest.approx(exact_p_value(values), abs=0.02)
    assert drawn == sign_flip_p_value([of(values)])
    assert sign_flip_p_value([of([1.0] * 60)]) == 1 / 10_001


def test_very_many_questions_are_flipped_in_several_blocks():
    assert sign_flip_p_value([of([0.0] * 1000)]) == 1.0
    assert sign_flip_p_value([of([1.0] * 1000)]) == 1 / 10_001


def test_data_sets_of_unlike_sizes_weigh_the_same_in_the_test():
    few, many = [4.0, -1.0], [0.5, 1.0, -2.0, 1.5, 0.7, 0.1]
    parts = [value / len(values) for values in (few, many) for value in values]
    assert sign_flip_p_value([of(few), of(many)]) == exact_p_value(parts)
    assert exact_p_value(parts) != exact_p_value([*few, *many])


def test_answers_to_one_question_change_sides_together():
    sample = {1: [1.0, 1.0], 2: [0.5, 1.5], 3: [2.0, 0.0]}
    assert sign_flip_p_value([sample]) == 2 / 2**3


def test_the_test_is_honest_where_nothing_differs():
    generator = np.random.default_rng(8)
    p_values = [sign_flip_p_value([of(generator.normal(0, 1, 10))]) for _ in range(300)]
    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(0.05, abs=0.03)


def test_holm_as_in_its_definition():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_methods_are_compared_on_the_prompts_that_both_answered():
    answers = [
        made.answer(method, index=index, scores={"words": 10.0 * index + bonus})
        for index in range(4)
        for method, bonus in (("pref", 0.0), ("amulet", 3.0))
    ]
    answers += [made.answer("amulet", index=9, scores={"words": 1000.0})]
    (found,) = compare_methods(answers, "words", [("amulet", "pref")])
    assert (found.method, found.against) == ("amulet", "pref")
    assert found.difference.mean == found.difference.low == pytest.approx(3.0)
    assert found.p_value == found.holm == 2 / 2**4


def test_all_tests_of_a_score_are_corrected_together():
    """Two preferences and two pairs are four tests: the least p-value is multiplied by four."""
    bonus = {"pref": [0] * 6, "amulet": [5, 6, 7, 8, 9, 4], "base": [1, -1, 2, -2, 3, -3]}
    answers = [
        made.answer(method, index=index, preference=name, scores={"words": value})
        for name in ("concise", "verbose")
        for method, held in bonus.items()
        for index, value in enumerate(held)
    ]
    pairs = [("amulet", "pref"), ("base", "pref")]
    found = compare_methods(answers, "words", pairs, ("concise", "verbose"))
    assert [(one.preference, one.method, one.against) for one in found] == [
        (name, *pair) for name in ("concise", "verbose") for pair in pairs
    ]
    assert [one.p_value for one in found] == pytest.approx([2 / 2**6, 1, 2 / 2**6, 1])
    assert [one.holm for one in found] == pytest.approx([4 * 2 / 2**6, 1, 4 * 2 / 2**6, 1])
    assert [one.difference.mean for one in found] == pytest.approx([6.5, 0, 6.5, 0])


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (
            ("base", "pref", "linear_alignment", "amulet@2", "amulet"),
            {
                *(("amulet@2", other) for other in ("base", "pref", "linear_alignment", "amulet")),
                *((other, "pref") for other in ("base", "linear_alignment", "amulet")),
            },
        ),
        (("base", "pref"), {("base", "pref")}),
        (("base", "linear_alignment"), {("linear_alignment", "base")}),
        (("amulet", "base"), {("amulet", "base")}),
        (
            ("base", "linear_alignment", "amulet"),
            {("amulet", "base"), ("amulet", "linear_alignment"), ("linear_alignment", "base")},
        ),
        (("pref",), set()),
        ((), set()),
    ],
)
def test_amulet_is_compared_with_every_method_and_every_other_one_with_pref(names, pairs):
    found = method_pairs(made.named(*names))
    assert set(found) == pairs
    assert len(found) == len(pairs)


def test_a_mean_says_of_how_many_answers_it_is():
    answers = [
        made.answer(index=index, preference=name, scores={"words": 4.0} if index else {})
        for index in range(5)
        for name in ("creative", "concise", "verbose")
    ]
    assert (mean_of(answers, "words").questions, mean_of(answers, "words").values) == (4, 12)
    assert (mean_of(answers[:6], "words").low, mean_of(answers[:6], "words").values) == (None, 3)


def test_a_comparison_says_of_how_many_pairs_it_is():
    answers = [made.answer(m, index=i, scores={"words": i}) for i in range(5) for m in "ab"]
    answers[0] = made.answer("a", index=0)
    (found,) = compare_methods(answers, "words", [("b", "a")])
    assert found.difference.values == 4


def test_answers_without_the_score_are_left_out():
    answers = [made.answer(index=1, scores={"words": 4.0}), made.answer(index=2)]
    assert mean_of(answers, "words").questions == 1
    assert mean_of(answers, "words").values == 1
    assert mean_of(answers, "reward") is None
    assert compare_methods(answers, "reward", [("pref", "base")]) == []
