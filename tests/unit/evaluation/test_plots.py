"""Plots are drawn for whatever was measured, and say what is missing."""

from __future__ import annotations

import io
import sys

import pytest

from amulet_integrations.errors import MissingDependencyError
from amulet_integrations.evaluation.judging import win_counts
from amulet_integrations.evaluation.reporting.plots import (
    DARK,
    check_plots,
    score_plot,
    score_plot_name,
    trade_off_plot,
    win_plot,
)
from amulet_integrations.evaluation.reporting.tables import score_table
from amulet_integrations.evaluation.trade_off import trade_off
from tests.unit.evaluation import made


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


def test_scores_that_some_methods_lack():
    answers = [made.answer("base", scores={"reward": 1.0}), made.answer("pref")]
    assert pixels(score_plot(score_table(answers, "reward"))).size


def test_the_trade_off_with_and_without_a_recommendation():
    answers = made.run(questions=3)
    for allowance in (0.25, 0.0):
        assert pixels(trade_off_plot(trade_off(answers, allowance=allowance))).size


def test_wins():
    assert pixels(win_plot(win_counts(made.outcomes()))).size
    assert pixels(win_plot(win_counts(made.outcomes(), by_preference=True))).size


def test_a_pair_without_a_result_is_no_division_by_zero():
    nothing = [o.model_copy(update={"result": None}) for o in made.outcomes(("base",))]
    assert pixels(win_plot(win_counts(nothing))).size


def test_dark_pictures_are_dark():
    drawn = pixels(win_plot(win_counts(made.outcomes()), DARK))
    assert drawn[0, 0, :3].max() < 0.2


def test_names_of_files_are_safe_whatever_a_score_is_called():
    assert score_plot_name("../tone /x") == "scores-.._tone__x"


def test_no_screen_and_no_global_state_is_touched():
    score_plot(score_table(made.run(questions=1, strengths=()), "reward"))
    assert (
        "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
    )


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(
        "amulet_integrations.evaluation.reporting.plots.find_spec", lambda name: None
    )
    with pytest.raises(MissingDependencyError, match=r"amulet-integrations\[evaluation\]"):
        check_plots()
