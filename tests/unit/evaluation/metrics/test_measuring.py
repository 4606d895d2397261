"""Scores are checked strictly, stored, and never hidden by those of another scorer."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation import TextScorer
from amulet_integrations.evaluation.data.record_types import ScoreLine
from amulet_integrations.evaluation.metrics.measuring import check_scorers, measure_all
from amulet_integrations.evaluation.runs.journal import Journal
from tests.unit.evaluation import made

ANSWERS = [made.answer(index=index, text="one two") for index in range(20)]


class Constant:
    """Gives every answer the same scores."""

    def __init__(self, name="mine", **scores):
        self.name, self.scores, self.calls = name, scores, 0

    def score(self, answers, preferences):
        self.calls += len(answers)
        return [dict(self.scores) for _ in answers]


class Declaring(Constant):
    """Declaring its scores beforehand."""

    @property
    def score_names(self):
        return tuple(self.scores)


class Returning(Constant):
    """Returning an object, or the result of a function of the answers."""

    def __init__(self, returned):
        super().__init__()
        self.returned = returned

    def score(self, answers, preferences):
        return self.returned(answers) if callable(self.returned) else self.returned


def measured(*scorers, journal=None):
    return measure_all(scorers, ANSWERS, made.preferences(), journal or Journal(None, ScoreLine))


def one(value):
    return Returning(lambda answers: [{"tone": value} for _ in answers])


def test_two_scorers_that_give_one_score_are_refused_before_the_second_is_kept(tmp_path):
    path = tmp_path / "scores.jsonl"
    message = (
        r"'first' and 'second' both give a score 'reward'.*score=\"reward_2\".*without=\['first'\]"
    )
    with Journal(path, ScoreLine) as journal, pytest.raises(EvaluationError, match=message):
        measured(
            Constant("first", reward=1), Constant("second", other=1, reward=2), journal=journal
        )
    kept = Journal.read(path, ScoreLine)
    assert {line.scorer for line in kept} == {"first"}
    assert len(kept) == len(ANSWERS)


def test_a_clash_is_found_in_stored_scores_too(tmp_path):
    path = tmp_path / "scores.jsonl"
    for name in ("first", "second"):
        with Journal(path, ScoreLine) as journal:
            measured(Constant(name, reward=1), journal=journal)
    first, second = Constant("first", reward=1), Constant("second", reward=1)
    with Journal(path, ScoreLine) as journal, pytest.raises(EvaluationError, match="both give"):
        measured(first, second, journal=journal)
    assert first.calls == second.calls == 0


def test_scorers_of_different_scores_go_together():
    found = measured(Constant("first", reward=1), Constant("second", reward_2=2))
    lines = [line for line in found if line.key == ANSWERS[0].key]
    assert [(line.scorer, line.scores) for line in lines] == [
        ("first", {"reward": 1}),
        ("second", {"reward_2": 2}),
    ]


@pytest.mark.parametrize(
    ("scorers", "message"),
    [
        ([Constant("a"), Constant("a")], "Two scorers are called 'a'"),
        ([Constant("likelihoods")], "called 'likelihoods', and that is this package's own"),
        ([Declaring("a", tone=1), Declaring("b", tone=1)], "'a' and 'b' both give a score 'tone'"),
        ([Declaring("a", words=1), TextScorer()], "'a' and 'text' both give a score 'words'"),
        ([Declaring("a", fluency_nll=1)], "'likelihoods' and 'a' both give"),
        ([TextScorer], "is no scorer"),
        ([Constant(" ")], "is no scorer"),
        ([lambda answers: 1], "is no scorer"),
    ],
)
def test_invalid_scorers_are_refused_before_they_are_called(scorers, message):
    with pytest.raises(EvaluationError, match=message):
        check_scorers(scorers)


def test_scorers_without_a_clash_are_accepted():
    check_scorers([TextScorer(), Constant("a"), Declaring("b", tone=1), Declaring("c", reward=1)])


@pytest.mark.parametrize(
    "returned", [None, 0.5, np.float32(0.5), True, "good", {"tone": 1.0}, iter]
)
def test_results_that_are_no_list_are_refused(returned):
    with pytest.raises(EvaluationError, match=r"'mine' gave .* a list, with one dict for each"):
        measured(Returning(returned))


@pytest.mark.parametrize("returned", [None, 0.5, np.float32(0.5), True, "good", ["tone"]])
def test_scores_that_are_no_dict_are_refused(returned):
    with pytest.raises(EvaluationError, match=r"'mine' gave .* to question 0 of 'sea'.* a dict"):
        measured(Returning(lambda answers: [returned for _ in answers]))


@pytest.mark.parametrize(
    "value",
    [None, "good", True, np.bool_(True), float("nan"), float("inf"), np.float32("nan"),
     torch.tensor(float("nan")), torch.zeros(2), np.zeros(2), 1j, 10**400],
)  # fmt: skip
def test_values_that_are_no_numbers_are_refused(value):
    with pytest.raises(EvaluationError, match=r"'mine' gave tone=.* question 0 .* a finite number"):
        measured(one(value))


def test_the_answer_without_a_number_is_named():
    values = [0.5] * 5 + [float("nan")] + [0.5] * 10
    scorer = Returning(lambda answers: [{"tone": value} for value in values])
    with pytest.raises(EvaluationError, match=r"by 'base' to question 5 of 'sea', .*'creative'"):
        measured(scorer)


@pytest.mark.parametrize("name", [1, None, ""])
def test_invalid_names_of_scores_are_refused(name):
    with pytest.raises(EvaluationError, match="'mine' calls a score"):
        measured(Returning(lambda answers: [{name: 1.0} for _ in answers]))


@pytest.mark.parametrize(
    "value",
    [0.5, np.float32(0.5), np.float64(0.5), torch.tensor(0.5), torch.tensor([0.5]), Fraction(1, 2)],
)
def test_scalars_of_other_packages_are_numbers_and_are_kept(value, tmp_path):
    path = tmp_path / "scores.jsonl"
    with Journal(path, ScoreLine) as journal:
        found = measured(one(value), journal=journal)
    assert {type(line.scores["tone"]) for line in found} == {float}
    assert [line.scores for line in Journal.read(path, ScoreLine)] == [{"tone": 0.5}] * 20


def test_a_scorer_that_fails_is_named_and_what_was_measured_is_kept(tmp_path):
    path = tmp_path / "scores.jsonl"
    scorer = Constant(tone=1)
    whole = scorer.score

    def failing(answers, preferences):
        if scorer.calls:
            raise KeyError("tone of\nvoice")
        return whole(answers, preferences)

    scorer.score = failing
    message = "The scorer 'mine' failed: KeyError: 'tone of"
    with Journal(path, ScoreLine) as journal:
        with pytest.raises(EvaluationError, match=message) as error:
            measured(Constant("before", words=2), scorer, journal=journal)
        assert isinstance(error.value.__cause__, KeyError)
    kept = [line.scorer for line in Journal.read(path, ScoreLine)]
    assert kept.count("before") == 20
    assert 0 < kept.count("mine") < 20
    again = Constant(tone=1)
    with Journal(path, ScoreLine) as journal:
        found = measured(again, journal=journal)
    assert [line.scorer for line in found] == ["mine"] * 20
    assert again.calls == 20 - kept.count("mine")


def test_scores_are_copied():
    shared = {"tone": 1.0}
    found = measured(Returning(lambda answers: [shared for _ in answers]))
    shared["tone"] = 2.0
    assert {line.scores["tone"] for line in found} == {1.0}


def test_a_run_without_answers_has_no_scores():
    assert measure_all([Constant(tone=1)], [], {}, Journal(None, ScoreLine)) == []
