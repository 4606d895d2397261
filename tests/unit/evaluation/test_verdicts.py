"""A judge is asked about Amulet's answers beside all others, and never twice."""

from __future__ import annotations

import pytest

from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation import Evaluation, evaluate
from tests.support.evaluations import QUESTIONS

METHODS = ["base", "pref", "amulet", "amulet@2"]


class Judge:
    """Says that answer A is better, whatever it is; after some pairs it says nothing any more."""

    def __init__(self, patience=1000, model="fair-7b"):
        self.asked, self.patience, self.model = 0, patience, model

    def batch(self, inputs):
        if self.asked + len(inputs) > 2 * self.patience:
            raise ConnectionError("gone")
        self.asked += len(inputs)
        return ["A"] * len(inputs)


def run(tiny_engine, judge, output=None, methods=METHODS):
    return evaluate(
        tiny_engine, QUESTIONS, ["creative"], methods,
        max_new_tokens=3, judge=judge, output=output,
    )  # fmt: skip


def test_amulet_is_judged_beside_each_other_method(tiny_engine):
    found = run(tiny_engine, Judge())
    assert [(one.index, one.method, one.against) for one in found.outcomes] == [
        *((index, "amulet", "base") for index in range(3)),
        *((index, "amulet", "pref") for index in range(3)),
    ]
    assert {one.result for one in found.outcomes} == {"tie"}  # both orders disagree


def test_without_amulet_each_two_are_judged(tiny_engine):
    found = run(tiny_engine, Judge(), methods=["base", "pref"])
    assert {(one.method, one.against) for one in found.outcomes} == {("base", "pref")}


def test_a_judge_is_not_asked_again(tiny_engine, tmp_path):
    first = run(tiny_engine, Judge(), tmp_path)
    again = Judge()
    assert run(tiny_engine, again, tmp_path) == first
    assert again.asked == 0
    assert Evaluation.read(tmp_path) == first
    other = Judge(model="another")
    run(tiny_engine, other, tmp_path)
    assert other.asked == 12


def test_what_was_judged_before_a_failure_is_kept(tiny_engine, tmp_path):
    path = tmp_path / "outcomes.jsonl"
    whole = run(tiny_engine, Judge(), tmp_path)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:4]))
    failing = Judge(patience=1)
    with pytest.raises(EvaluationError, match="gone"):
        run(tiny_engine, failing, tmp_path)
    again = Judge()
    assert run(tiny_engine, again, tmp_path) == whole
    assert again.asked == 4
