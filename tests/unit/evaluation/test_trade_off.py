"""The recommended strength is the largest up to which fluency stays within the allowance."""

from __future__ import annotations

import pytest

from amulet_integrations.decoding import AmuletParams
from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation import Method
from amulet_integrations.evaluation.trade_off import (
    has_strengths,
    reference_of,
    strengths_of,
)
from amulet_integrations.evaluation.trade_off import trade_off as trade_off_of
from tests.unit.evaluation import made

CURVE = {
    "pref": (0.0, 0.75),
    "amulet@2": (0.1, 0.8),
    "amulet@10": (0.2, 0.99),
    "amulet@60": (0.4, 1.6),
}


def trade_off(held, **more):
    return trade_off_of(held, methods_of(held), **more)


def methods_of(held):
    return made.named(*dict.fromkeys(answer.method for answer in held))


def answers(curve=CURVE, questions=3, **more):
    return [
        made.measured(method, index, ratio, fluency, **more)
        for method, (ratio, fluency) in curve.items()
        for index in range(questions)
    ]


def test_the_largest_strength_within_the_allowance_and_its_gain():
    found = trade_off(answers())
    assert [point.iterations for point in found.strengths] == [2, 10, 60]
    assert found.recommended.method == "amulet@10"
    assert found.gain == pytest.approx(0.2)
    assert found.gain_kept == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("allowance", "method"), [(0.0, None), (0.06, "amulet@2"), (0.9, "amulet@60")]
)
def test_the_allowance_decides(allowance, method):
    found = trade_off(answers(), allowance=allowance)
    assert (found.recommended and found.recommended.method) == method
    if method is None:
        assert found.gain is None
        assert found.gain_kept is None


def test_a_price_just_at_the_allowance_is_within():
    curve = {"pref": (0.0, 0.5), "amulet@2": (0.1, 0.75), "amulet@3": (0.2, 0.7501)}
    assert trade_off(answers(curve)).recommended.method == "amulet@2"


def test_nothing_counts_from_the_first_strength_past_the_allowance_on():
    curve = {
        "pref": (0.0, 0.75),
        "amulet@200": (0.9, 0.9),
        "amulet@60": (0.4, 2.0),
        "amulet@10": (0.3, 1.5),
        "amulet@2": (0.1, 0.8),
    }
    assert trade_off(answers(curve)).recommended.method == "amulet@2"
    curve["amulet@1"] = (0.05, 1.1)
    assert trade_off(answers(curve)).recommended is None
    assert trade_off(answers(curve)).affordable is None


def test_amulet_without_a_number_is_the_default_strength():
    found = trade_off(answers({"pref": (0, 1), "amulet@200": (1, 1), "amulet": (1, 1)}))
    assert [point.iterations for point in found.strengths] == [60, 200]


def test_other_methods_do_not_matter():
    noise = {"base": (9, 9), "linear_alignment@2": (9, 9)}
    assert trade_off(answers(CURVE | noise)) == trade_off(answers())


def test_only_what_every_strength_answered_counts():
    more = [made.measured("amulet@60", 99, 100.0, 0.0)]
    assert trade_off(answers() + more) == trade_off(answers())


def test_preferences_apart():
    both = answers() + answers(
        {"pref": (0, 1), "amulet@2": (1, 1), "amulet@10": (2, 9), "amulet@60": (3, 9)},
        preference="concise",
    )
    assert trade_off(both, preference="concise").recommended.method == "amulet@2"
    assert trade_off(both, preference="creative").recommended.method == "amulet@10"


@pytest.mark.parametrize("ratio", [0.2, 0.5])
def test_what_gains_nothing_is_not_recommended(ratio):
    found = trade_off(answers({"pref": (0.5, 1), "amulet@2": (ratio, 1), "amulet@9": (0.9, 9)}))
    assert found.affordable.method == "amulet@2"
    assert (found.recommended, found.gain, found.gain_kept) == (None, None, None)


@pytest.mark.parametrize(
    ("made_of", "what"),
    [
        ({"amulet@2": (0, 1)}, "needs answers of the method pref"),
        ({"pref": (0, 1)}, "amulet@2, amulet@10"),
    ],
)
def test_what_is_missing_is_named(made_of, what):
    with pytest.raises(EvaluationError, match=what):
        trade_off(answers(made_of))
    assert not has_strengths(answers(made_of), methods_of(answers(made_of)))


def test_no_common_question_is_an_error():
    apart = [made.measured("pref", 1, 0, 1), made.measured("amulet@2", 2, 0, 1)]
    with pytest.raises(EvaluationError, match="No question was answered by all of pref, amulet@2"):
        trade_off(apart)
    more = [*apart, made.measured("amulet@5", 2, 0, 1)]
    assert not has_strengths(more, methods_of(more))
    assert has_strengths(answers(), methods_of(answers()))


@pytest.mark.parametrize("allowance", [-0.1, float("nan")])
def test_a_negative_allowance_is_an_error(allowance):
    with pytest.raises(EvaluationError, match="allowance="):
        trade_off(answers(), allowance=allowance)


def amulet(name, iterations, **params):
    return Method(name=name, kind="amulet", params=AmuletParams(iterations=iterations, **params))


def test_methods_count_by_what_they_are_and_not_by_their_names():
    methods = (
        Method(name="with it in the prompt", kind="pref"),
        amulet("strong", 50),
        amulet("weak", 3),
        Method(name="amulet@9", kind="base"),
    )
    curve = {
        "with it in the prompt": (0, 1),
        "strong": (2, 1.2),
        "weak": (1, 1),
        "amulet@9": (9, 9),
    }
    found = trade_off_of(answers(curve), methods)
    assert [(p.method, p.iterations) for p in found.strengths] == [("weak", 3), ("strong", 50)]
    assert found.reference.method == "with it in the prompt"
    assert found.recommended.method == "strong"
    assert has_strengths(answers(curve), methods)


def test_a_curve_is_of_methods_that_differ_in_iterations_only():
    other = (amulet("gentle 1", 1, alpha=0.5), amulet("gentle 2", 2, alpha=0.5))
    methods = (*other, amulet("a", 1), amulet("b", 2), amulet("c", 3), amulet("again", 3))
    assert [method.name for method in strengths_of(methods)] == ["a", "b", "c"]
    assert strengths_of(methods[:4]) == other
    assert strengths_of(made.named("base", "pref")) == ()
    assert reference_of(methods) is None


def test_strengths_that_never_answered_are_left_out():
    methods = (*methods_of(answers()), amulet("amulet@99", 99))
    assert trade_off_of(answers(), methods) == trade_off(answers())
