"""Plots are drawn for whatever was measured, and say what is missing."""

from __future__ import annotations

import io
import sys

import pytest

from amulet_integrations.errors import MissingDependencyError
from amulet_integrations.evaluation.judging.win_counts import win_counts
from amulet_integrations.evaluation.reporting.frontier_plots import frontier_plot
from amulet_integrations.evaluation.reporting.plots import (
    BACKGROUND,
    MAIN,
    MUTED,
    check_plots,
    score_plot,
    score_plot_name,
    win_plot,
)
from amulet_integrations.evaluation.reporting.score_tables import score_table
from tests.unit.evaluation import made


@pytest.fixture
def drawn(monkeypatch):
    """Draws a picture and gives its panels as they are saved."""
    figures = []
    from matplotlib.figure import Figure

    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda figure, *a, **k: (figures.append(figure), save(figure, *a, **k))
    )

    def draw(plot, *args, **more):
        plot(*args, **more)
        return [axes for axes in figures[-1].axes if axes.get_visible()]

    return draw


def dots(axes):
    """The single points of a panel: where, and of what colour."""
    return {
        (line.get_xdata()[0], line.get_ydata()[0]): line.get_color()
        for line in axes.lines
        if len(line.get_xdata()) == 1
    }


def bars(axes):
    """Of each bar of a panel, which row it is in, where it begins and how long it is."""
    return [
        [(round(bar.get_y() + bar.get_height() / 2), bar.get_x(), bar.get_width()) for bar in held]
        for held in axes.containers
    ]


def labels(axes):
    return [label.get_text() for label in axes.get_yticklabels()]


def pixels(png):
    image = pytest.importorskip("matplotlib.image")
    return image.imread(io.BytesIO(png), format="png")


@pytest.fixture(scope="module", autouse=True)
def matplotlib():
    return pytest.importorskip("matplotlib")


@pytest.mark.parametrize("preferences", [("creative",), ("a", "b", "c", "d", "e")])
def test_a_panel_for_each_preference(preferences):
    table = score_table(made.run(preferences=preferences, questions=2, strengths=()), "reward")
    drawn = pixels(score_plot(table))
    assert drawn.shape[1] == 1200
    assert drawn[..., :3].min() < 0.3 < drawn[..., :3].max() == 1.0


def test_scores_that_some_methods_lack(drawn):
    answers = [made.answer("base", scores={"reward": 1.0}), made.answer("pref")]
    (axes,) = drawn(score_plot, score_table(answers, "reward"))
    assert [*dots(axes)] == [(1.0, 0)]
    assert labels(axes) == ["base", "pref"]


def test_a_formula_in_a_name_is_no_formula(drawn):
    text = "$\\frac{1$"
    answers = [made.answer(text, preference=text, scores={text: 1.0})]
    (axes,) = drawn(score_plot, score_table(answers, text))
    assert labels(axes) == ["\\$\\frac{1\\$"]
    outcomes = [o.model_copy(update={"method": text}) for o in made.outcomes((text,), judge=text)]
    (axes,) = drawn(win_plot, win_counts(outcomes))
    assert axes.get_title(loc="left") == "judged by \\$\\frac{1\\$"


def test_dots_are_the_means_and_lines_their_intervals(drawn):
    values = {"base": (1.0, 3.0), "mine": (5.0, 5.0)}
    answers = [
        made.answer(method, index=index, scores={"reward": value})
        for method, held in values.items()
        for index, value in enumerate(held)
    ]
    (axes,) = drawn(score_plot, score_table(answers, "reward"), coloured={"mine"})
    assert dots(axes) == {(2.0, 0): MUTED, (5.0, 1): MAIN}
    assert [tuple(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2] == [
        (1.0, 3.0),
        (5.0, 5.0),
    ]
    assert labels(axes) == ["base", "mine"]
    assert axes.get_title(loc="left") == "creative"


def test_a_mean_that_lacks_a_data_set_is_a_hollow_dot(drawn):
    answers = [
        made.answer(method, data_set=data_set, scores={"reward": 1.0})
        for method, data_set in (("base", "sea"), ("base", "sky"), ("pref", "sea"))
    ]
    (axes,) = drawn(score_plot, score_table(answers, "reward"))
    insides = [line.get_markerfacecolor() for line in axes.lines if len(line.get_xdata()) == 1]
    assert insides == [MUTED, BACKGROUND]


@pytest.mark.parametrize(("gain", "marked"), [(0.5, (0.25, 0.5)), (-0.5, None)])
def test_the_frontier_joins_the_optimal_points_and_marks_the_recommended_one(drawn, gain, marked):
    points = {
        "pref": (0.0, 1.0),
        "amulet@p=2,kl=0.2": (gain, 1.25),
        "amulet@p=4": (-0.25, 1.5),
        "amulet@p=5": (2 * gain, 3.0),
    }
    answers = [
        made.measured(method, index, *point)
        for method, point in points.items()
        for index in range(2)
    ]
    (axes,) = drawn(frontier_plot, made.frontier(answers))
    joined = [
        list(zip(line.get_xdata(), line.get_ydata(), strict=True))
        for line in axes.lines
        if line.get_label().startswith("no other point")
    ]
    best = [(0.0, 0.0), (0.25, 0.5), (2.0, 1.0)] if marked else [(0.0, 0.0)]
    assert joined == [best]
    rings = [
        (line.get_xdata()[0], line.get_ydata()[0])
        for line in axes.lines
        if line.get_markerfacecolor() == "none"
    ]
    assert rings == [marked] * (marked is not None)
    limits = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert [line.get_xdata()[0] for line in limits] == [0.1]
    assert {text.get_text() for text in axes.texts} == {"pref", "2, kl 0.2", "4", "5"}


def outcomes_of(judge, against, results):
    return [
        outcome.model_copy(update={"result": result})
        for outcome, result in zip(
            made.outcomes((against,), pairs=len(results), judge=judge), results, strict=False
        )
    ]


def test_bars_are_shares_of_the_pairs_with_a_result(drawn):
    outcomes = outcomes_of("ann", "base", ["win", "win", "tie", "lose", None])
    (axes,) = drawn(win_plot, win_counts(outcomes))
    assert bars(axes) == [[(0, 0.0, 0.5)], [(0, 0.5, 0.25)], [(0, 0.75, 0.25)]]
    assert [text.get_text() for text in axes.texts] == ["2", "1", "1"]
    assert labels(axes) == ["amulet against base"]
    assert axes.get_title(loc="left") == "judged by ann"


def test_each_judge_has_a_panel(drawn):
    outcomes = [
        *outcomes_of("ann", "base", ["win", "win"]),
        *outcomes_of("ann", "pref", ["lose", "tie"]),
        *outcomes_of("bob", "base", ["tie", "tie"]),
    ]
    one, other = drawn(win_plot, win_counts(outcomes))
    assert [axes.get_title(loc="left") for axes in (one, other)] == [
        "judged by ann",
        "judged by bob",
    ]
    assert labels(one) == ["amulet against base", "amulet against pref"]
    assert labels(other) == ["amulet against base"]
    assert bars(one) == [
        [(0, 0.0, 1.0), (1, 0.0, 0.0)],
        [(0, 1.0, 0.0), (1, 0.0, 0.5)],
        [(0, 1.0, 0.0), (1, 0.5, 0.5)],
    ]
    assert bars(other) == [[(0, 0.0, 0.0)], [(0, 0.0, 1.0)], [(0, 1.0, 0.0)]]


def test_a_pair_without_a_result_is_no_division_by_zero(drawn):
    (axes,) = drawn(win_plot, win_counts(outcomes_of("ann", "base", [None, None])))
    assert bars(axes) == [[(0, 0.0, 0.0)]] * 3


def test_names_of_files_are_safe_whatever_a_score_is_called():
    name = score_plot_name("../tone /x")
    assert name.startswith("scores-.._tone__x-")
    assert "/" not in name
    assert score_plot_name("reward") == "scores-reward"


def test_no_screen_and_no_global_state_is_touched():
    score_plot(score_table(made.run(questions=1, strengths=()), "reward"))
    assert (
        "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
    )


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(
        "amulet_integrations.evaluation.reporting.plots.find_spec", lambda name: None
    )
    with pytest.raises(MissingDependencyError, match=r"pip install .*\[evaluation\]"):
        check_plots()
