"""What a folder holds is read back, with who measured and judged."""

from __future__ import annotations

import json

import pytest

from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation import Evaluation
from amulet_integrations.evaluation.reporting.report_contents import ReportContents
from tests.unit.evaluation import made


def folder(path, answers, lines, outcomes=()):
    """A run's folder, written without the code that writes them."""
    settings = made.evaluation(answers).settings.model_dump(mode="json")
    (path / "settings.json").write_text(json.dumps(settings))
    for name, items in (
        ("answers", [answer.model_dump(mode="json", exclude={"scores"}) for answer in answers]),
        ("scores", lines),
        ("outcomes", [outcome.model_dump(mode="json") for outcome in outcomes]),
    ):
        text = "".join(json.dumps(item) + "\n" for item in items)
        (path / f"{name}.jsonl").write_text(text)
    return path


def line(answer, scorer, **scores):
    return {**answer.key._asdict(), "scorer": scorer, "scores": scores}


def test_who_measured_and_judged_is_read_back(tmp_path):
    one, other = made.answer("base"), made.answer("amulet")
    lines = [line(one, "text", words=3), line(other, "text", words=5), line(one, "tone", tone=1)]
    outcomes = [*made.outcomes(judge="ann", pairs=1), *made.outcomes(judge="bob", pairs=1)]
    found = Evaluation.read(folder(tmp_path, [one, other], lines, outcomes))
    assert found.scorers == ("text", "tone")
    assert found.judges == ("ann", "bob")
    assert [outcome.judge for outcome in found.outcomes] == ["ann"] * 8 + ["bob"] * 8
    assert found.answers[0].scores == {"words": 3, "tone": 1}


@pytest.mark.parametrize("same", [True, False])
def test_two_scorers_of_one_score_are_named_and_one_can_be_left_out(tmp_path, same):
    first = made.answer()
    second = first if same else made.answer(index=1)
    lines = [line(first, "reward:a", reward=1), line(second, "reward:b", reward=2)]
    path = folder(
        tmp_path, list({answer.key: answer for answer in (first, second)}.values()), lines
    )
    with pytest.raises(EvaluationError) as error:
        Evaluation.read(path)
    for part in ("'reward:a'", "'reward:b'", "'reward'", "without=['reward:a']"):
        assert part in str(error.value)
    found = Evaluation.read(path, without=["reward:a"])
    assert found.values("reward") == (2,)
    assert found.scorers == ("reward:b",)


def test_a_mean_is_the_reports_mean():
    """Data sets of unequal size weigh the same: (1 + 5) / 2, and not (1 + 1 + 1 + 5) / 4."""
    answers = [made.answer(index=index, scores={"words": 1.0}) for index in range(3)]
    answers.append(made.answer(data_set="sky", scores={"words": 5.0}))
    found = made.evaluation(answers)
    assert found.mean("words") == 3.0
    (row,) = ReportContents(found).tables[0].blocks[0].rows
    assert found.mean("words") == row.average.estimate.mean
    assert found.mean("words", data_set="sky") == 5.0
    assert found.mean("nothing") is None
