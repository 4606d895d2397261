"""The recommended point is the one with the largest gain that keeps all limits beside pref."""

from __future__ import annotations

import pytest

from amulet_integrations.decoding import AmuletParams
from amulet_integrations.decoding.strength import Preset
from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation import Method
from amulet_integrations.evaluation.analysis.frontier import find_frontier
from amulet_integrations.evaluation.data.methods import points_of, reference_of
from amulet_integrations.evaluation.reporting.report_contents import ReportContents
from tests.unit.evaluation import made

# The ratio and the nats of each; beside pref they gain 0.1, 0.2, 0.4 for 0.02, 0.08, 0.8.
POINTS = {
    "pref": (0.0, 0.75),
    "amulet@p=2,kl=0.1": (0.1, 0.77),
    "amulet@p=2,kl=0.2": (0.2, 0.83),
    "amulet@paper": (0.4, 1.55),
}
WEAK, GOOD, PAPER = [*POINTS][1:]


def frontier(held, **more):
    return find_frontier(held, methods_of(held), **more)


def methods_of(held):
    return made.named(*dict.fromkeys(answer.method for answer in held))


def answers(points=POINTS, questions=3, others=None, **more):
    """The same answers to every question; `others` are a method's further scores."""
    return [
        made.measured(method, index, ratio, nll, **(others or {}).get(method, {}), **more)
        for method, (ratio, nll) in points.items()
        for index in range(questions)
    ]


def test_the_largest_gain_that_keeps_all_limits():
    found = frontier(answers())
    assert [point.strength for point in found.points] == [
        Preset(2.0, 0.1),
        Preset(2.0, 0.2),
        Preset(AmuletParams().guidance_scale, None),
    ]
    assert found.recommended.method == GOOD
    assert found.recommended.gain.mean == pytest.approx(0.2)
    assert found.recommended.cost.mean == pytest.approx(0.08)
    assert not found.missed(found.recommended)


@pytest.mark.parametrize(("allowance", "method"), [(0.03, WEAK), (0.08, GOOD), (0.9, PAPER)])
def test_the_allowance_decides(allowance, method):
    assert frontier(answers(), allowance=allowance).recommended.method == method


PREF = {"relevance": 0.7, "distinct_2": 0.95}


@pytest.mark.parametrize(
    ("worse", "missed"),
    [
        ({"relevance": 0.66, "distinct_2": 0.93}, []),
        ({"relevance": 0.64}, ["relevance"]),
        ({"distinct_2": 0.91}, ["repeated pairs"]),
        ({"broken": 1.0}, ["broken answers"]),
        ({"relevance": 0.2, "broken": 1.0}, ["relevance", "broken answers"]),
    ],
)
def test_every_limit_counts(worse, missed):
    others = dict.fromkeys(POINTS, PREF) | {GOOD: PREF | worse}
    found = frontier(answers(others=others))
    point = found.points[1]
    assert [limit.what for limit in found.missed(point)] == missed
    assert found.recommended.method == (WEAK if missed else GOOD)


def test_broken_answers_are_those_that_pref_does_not_have():
    """One of three is broken in both."""
    held = [
        answer.model_copy(update={"scores": answer.scores | {"broken": float(answer.index == 0)}})
        for answer in answers()
    ]
    found = frontier(held)
    assert [found.reference.broken, *(point.broken for point in found.points)] == [1, 1, 1, 1]
    assert found.recommended.method == GOOD


def test_where_none_keeps_them_it_is_the_one_that_misses_least():
    """Each excess is a share of what is allowed."""
    points = {"pref": (0, 1), "amulet@p=2": (1, 1.25), "amulet@p=3": (2, 1.1)}
    others = {
        "pref": PREF,
        "amulet@p=2": {"relevance": 0.63, "distinct_2": 0.95},  # 1.5 + 0.4 shares past
        "amulet@p=3": {"relevance": 0.63, "distinct_2": 0.90},  # 0.4 + 0.67 shares past
    }
    found = frontier(answers(points, others=others))
    misses = [sum(limit.miss for limit in found.limits(point)) for point in found.points]
    assert misses == pytest.approx([1.5 + 0.4, 0.4 + 2 / 3])
    assert found.recommended.method == "amulet@p=3"


def test_what_gains_nothing_is_not_recommended():
    """And where such a point keeps the limits, none that is past them is recommended either."""
    points = {"pref": (0.5, 1), "amulet@2": (0.5, 1), "amulet@9": (0.4, 0.9)}
    assert frontier(answers(points)).recommended is None
    points["amulet@60"] = (0.9, 9)
    assert frontier(answers(points)).recommended is None
    points = {"pref": (0.5, 1), "amulet@60": (0.9, 9), "amulet@90": (0.4, 9.5)}
    found = frontier(answers(points))
    assert found.recommended.method == "amulet@60"
    assert found.breaks(found.recommended)


def test_an_answer_without_tokens_is_broken_and_counts():
    held = [
        made.answer(PAPER, index=0, token_ids=(), text="", scores={"broken": 1.0})
        if (answer.method, answer.index) == (PAPER, 0)
        else answer
        for answer in answers()
    ]
    found = frontier(held, allowance=9.0)
    assert [point.broken for point in found.points] == [0, 0, 1]
    assert found.points[2].gain.values == 2
    assert found.recommended.method == GOOD


def test_points_of_which_no_answer_has_tokens_make_no_frontier():
    """Nor does a report of such a run fail."""
    empty = {"text": "", "token_ids": (), "scores": {"broken": 1.0}}
    for silent in ("pref", WEAK):
        held = [
            answer.model_copy(update=empty) if answer.method == silent else answer
            for answer in answers({name: POINTS[name] for name in ("pref", WEAK, GOOD)})
        ]
        assert frontier(held) is None
        assert ReportContents(made.evaluation(held)).frontiers == ()


def test_the_optimal_points_are_those_that_none_beats_in_both():
    points = {
        "pref": (0.0, 1.0),
        "amulet@p=2": (0.3, 1.2),
        "amulet@p=3": (0.2, 1.4),  # gains less for more
        "amulet@p=4": (0.5, 1.5),
        "amulet@p=5": (0.5, 1.6),  # gains as much for more
    }
    names = [point.method for point in frontier(answers(points)).optimal]
    assert names == ["pref", "amulet@p=2", "amulet@p=4"]
    points["amulet@p=6"] = (0.1, 0.9)  # cheaper than pref, and gains
    names = [point.method for point in frontier(answers(points)).optimal]
    assert names == ["amulet@p=6", "amulet@p=2", "amulet@p=4"]


def test_how_much_the_bound_held_back_is_of_bounded_points_only():
    held = [
        answer.model_copy(update={"scores": answer.scores | {"bounded_tokens": 0.25}})
        if answer.method == GOOD
        else answer
        for answer in answers()
    ]
    points = frontier(held).points
    assert [point.held_back and point.held_back.mean for point in points] == [None, 0.25, None]


def test_other_methods_do_not_matter():
    noise = {"base": (9, 9), "linear_alignment@2": (9, 9)}
    assert frontier(answers(POINTS | noise)) == frontier(answers())


def test_only_what_every_point_answered_counts():
    more = [made.measured(PAPER, 99, 100.0, 0.0)]
    assert frontier(answers() + more) == frontier(answers())


def test_preferences_apart():
    concise = {"pref": (0, 1), WEAK: (1, 1), GOOD: (2, 9), PAPER: (3, 9)}
    both = answers() + answers(concise, preference="concise")
    assert frontier(both, preference="concise").recommended.method == WEAK
    assert frontier(both, preference="creative").recommended.method == GOOD


@pytest.mark.parametrize("names", [["amulet@2", "amulet@5"], ["pref"], ["pref", "amulet@2"], []])
def test_without_pref_or_two_points_there_is_no_frontier(names):
    assert frontier(answers(dict.fromkeys(names, (0, 1)))) is None


def test_without_a_question_in_common_there_is_no_frontier():
    apart = [made.measured("pref", 1, 0, 1), made.measured("amulet@2", 2, 0, 1)]
    assert frontier([*apart, made.measured("amulet@5", 2, 0, 1)]) is None
    assert frontier(answers()) is not None


@pytest.mark.parametrize("allowance", [-0.1, float("nan")])
def test_a_negative_allowance_is_an_error(allowance):
    with pytest.raises(EvaluationError, match="allowance="):
        frontier(answers(), allowance=allowance)


def test_methods_count_by_what_they_are_and_not_by_their_names():
    methods = (
        Method(name="with it in the prompt", kind="pref"),
        Method(name="strong", kind="amulet", guidance_scale=4.0, max_kl=0.4),
        Method(name="weak", kind="amulet", params=AmuletParams.from_guidance_scale(1.5)),
        Method(name="strong again", kind="amulet", params=AmuletParams.from_guidance_scale(4.0), max_kl=0.4),  # noqa: E501
        Method(name="amulet@9", kind="base"),
    )  # fmt: skip
    assert [method.name for method in points_of(methods)] == ["weak", "strong"]
    assert reference_of(methods).name == "with it in the prompt"
    assert points_of(made.named("base", "pref")) == ()
    assert reference_of(made.named("base")) is None


def test_points_that_never_answered_are_left_out():
    methods = (*methods_of(answers()), *made.named("amulet@99"))
    assert find_frontier(answers(), methods) == frontier(answers())
