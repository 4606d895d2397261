"""The benchmarks' own arithmetic, bounds, report and plots, on figures made up here."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

from amulet_integrations.decoding import ftrl_policy
from benchmarks.bounds import BOUNDS, Bound, bound_of
from benchmarks.components.memory import bytes_per_token
from benchmarks.speed.grounded_answers import quoted_share
from benchmarks.speed.published import GAME, play
from benchmarks.suite import SUITE, select_benchmarks
from benchmarks.support import report
from benchmarks.support.plots import Bars, Lines, write_plots
from benchmarks.support.timing import QUICK, Effort, Figure, timed_rounds


def test_rivals_run_in_turn_after_one_run_to_warm_up():
    ran = []
    rivals = {name: lambda name=name: ran.append(name) for name in "ab"}
    measured = timed_rounds(rivals, 2)
    assert ran == ["a", "b"] * 3
    assert [len(measured[name]["seconds"]) for name in "ab"] == [2, 2]


def test_what_a_rival_measures_is_kept_beside_its_seconds():
    measured = timed_rounds({"a": lambda: {"first token": 0.5}}, 3, warm_up=False)
    assert measured["a"]["first token"] == [0.5] * 3


def test_a_figure_is_a_median_and_both_ends():
    assert Figure.of([3.0, 1.0, 2.0]) == (2.0, 1.0, 3.0)
    assert Figure.ratio([4.0, 9.0], [2.0, 3.0]) == (2.5, 2.0, 3.0)
    assert Figure.rate(10, [2.0, 5.0]) == (3.5, 2.0, 5.0)


def test_a_quick_effort_is_little():
    assert QUICK.tokens(64) == 8
    assert QUICK.some((1, 2, 3)) == (1, 2)
    assert Effort().tokens(64) == 64


@pytest.mark.parametrize(
    ("sign", "below", "at", "above"),
    [(">=", False, True, True), ("<=", True, True, False), ("<", True, False, False)],
)
def test_bounds_compare(sign, below, at, above):
    bound = Bound(sign, 2)
    assert [bound.met_by(value) for value in (1.9, 2, 2.1)] == [below, at, above]


def test_every_bound_belongs_to_a_benchmark():
    for beginning in BOUNDS:
        assert any(name.startswith(beginning) for name in SUITE)


def test_a_bound_for_one_dtype_holds_for_that_alone():
    drafted = "quoting, tokens/s, drafted / one by one"
    assert bound_of("grounded answers, bfloat16", drafted) == Bound(">=", 1.4)
    assert bound_of("grounded answers, float32", drafted) is None
    free = "free text, tokens/s, drafted / one by one"
    assert bound_of("grounded answers, float32", free) == Bound(">=", 0.97)


def test_words_choose_benchmarks():
    assert select_benchmarks([]) == list(SUITE)
    assert select_benchmarks(["one_user"]) == ["one user, float32", "one user, bfloat16"]
    assert select_benchmarks(["GPU", "turns"]) == ["turns, float32", "gpu"]


FIGURES = {
    "Amulet / generate": Figure(1.1, 1.0, 1.2),
    "Amulet / generate(guidance_scale)": Figure(1.5, 1.4, 1.6),
    "prompt tokens": 40.0,
}


def test_lines_contain_bounds_and_whether_they_are_met():
    met, missed, free = report.format_lines("one user, float32", FIGURES)
    assert met.endswith("[1.00 to 1.20]   bound: >= 1.05, met: yes")
    assert missed.endswith("bound: >= 2, met: no")
    assert "bound" not in free


def test_reports_of_one_machine_are_put_together(tmp_path):
    here = {"processor": "some"}
    report.save("one user, float32", FIGURES, 1.0, here, tmp_path)
    path = report.save("gpu", {"x": 1.0}, 1.0, here, tmp_path)
    kept = json.loads(path.read_text())
    assert kept["machine"] == here
    assert kept["benchmarks"].keys() == {"one user, float32", "gpu"}
    assert kept["benchmarks"]["one user, float32"]["figures"]["Amulet / generate"] == {
        "value": 1.1,
        "min": 1.0,
        "max": 1.2,
        "bound": ">= 1.05",
        "met": "yes",
    }
    report.save("gpu", {"x": 1.0}, 1.0, {"processor": "another"}, tmp_path)
    assert json.loads(path.read_text())["benchmarks"].keys() == {"gpu"}


def test_plots_are_written(tmp_path):
    pytest.importorskip("matplotlib")
    figures = {"a": Figure(2.0, 1.0, 3.0), "b": 4.0}
    plots = [
        Bars("Bars", "tokens/s", {"one": "a", "other": "b", "absent": "c"}),
        Lines("Lines", "users", "ms", {"one": {1: "a", 2: "b"}, "absent": {1: "c"}}),
        Bars("Nothing", "ms", {"absent": "c"}),
    ]
    written = list(write_plots("some, float32", plots, figures, tmp_path))
    assert [path.name for path in written] == ["some-float32-bars.png", "some-float32-lines.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)


def test_the_plain_game_is_the_game():
    base, pref = torch.randn(2, 3, 50, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    played = play(base, pref, GAME).log_softmax(-1)
    torch.testing.assert_close(played, ftrl_policy(base, pref, GAME), atol=1e-3, rtol=1e-3)


def test_quotes_are_runs_of_eight():
    document = list(range(100))
    assert quoted_share([*range(20, 30), *[7] * 10], document) == 0.5
    assert quoted_share(list(range(20, 27)), document) == 0.0


def test_bytes_of_a_token():
    config = SimpleNamespace(
        num_key_value_heads=3, num_hidden_layers=30, head_dim=64, hidden_size=576
    )
    assert bytes_per_token(config, 4) == 46_080
