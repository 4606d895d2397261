"""What is recorded of a run, and which folders a run may use."""

from __future__ import annotations

import json

import pytest
import torch
import transformers
from filelock import FileLock

import amulet_integrations
from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation import Evaluation, Question, evaluate
from amulet_integrations.evaluation.settings import differences

QUESTION = Question(data_set="own", index=4, text="Why?")


@pytest.fixture
def run(tiny_engine, tmp_path):
    def run(**changes):
        options = {
            "questions": [QUESTION],
            "preferences": ["creative"],
            "methods": ["base", "amulet"],
            "max_new_tokens": 3,
            "output": tmp_path / "out",
        }
        return evaluate(tiny_engine, **{**options, **changes})

    return run


def contents(folder):
    return {
        path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"
    }  # the lock is touched by whoever asks


def test_everything_is_recorded(run, tmp_path):
    run(seed=5, sample=2, set_up="paper", temperature=0.5)
    recorded = json.loads((tmp_path / "out" / "settings.json").read_text())
    assert recorded["model"] == "tiny"
    assert recorded["dtype"] == "float32"
    assert recorded["device"] == "cpu"
    assert (recorded["seed"], recorded["sample"]) == (5, 2)
    assert (recorded["max_new_tokens"], recorded["temperature"]) == (3, 0.5)
    assert recorded["set_up"]["name"] == "paper"
    assert recorded["set_up"]["system"].endswith("user-friendly advice. ")
    assert recorded["preferences"] == [
        {"name": "creative", "text": "Your answer should be creative as much as possible."}
    ]
    assert [method["name"] for method in recorded["methods"]] == ["base", "amulet"]
    assert recorded["data_sets"][0]["name"] == "own"
    versions = recorded["versions"]
    assert versions["torch"] == torch.__version__
    assert versions["transformers"] == transformers.__version__
    assert versions["amulet-integrations"] == amulet_integrations.__version__


def test_the_same_settings_go_on(run, tmp_path):
    first = run()
    before = contents(tmp_path / "out")
    assert run() == first
    assert contents(tmp_path / "out") == before
    assert Evaluation.read(tmp_path / "out") == first


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"max_new_tokens": 4}, "max_new_tokens is 3 there and 4 here"),
        ({"seed": 1}, "seed is 0 there and 1 here"),
        ({"methods": ["base"]}, r"methods is \['base', 'amulet'\] there and \['base'\] here"),
        ({"preferences": ["creative=Rhyme."]}, "preferences.creative.text is 'Your answer"),
        ({"questions": [QUESTION.model_copy(update={"text": "How?"})]}, "data_sets.own.sha256"),
        ({"set_up": "paper"}, "set_up.name is 'default' there and 'paper' here"),
    ],
)
def test_other_settings_are_refused(run, tmp_path, changes, told):
    run()
    before = contents(tmp_path / "out")
    with pytest.raises(EvaluationError, match=told):
        run(**changes)
    assert contents(tmp_path / "out") == before


def test_other_versions_are_refused(run, tmp_path):
    run()
    path = tmp_path / "out" / "settings.json"
    path.write_text(path.read_text().replace(torch.__version__, "1.0"))
    with pytest.raises(EvaluationError, match=r"versions.torch is '1\.0' there"):
        run()


def test_somebody_elses_folder_is_left_alone(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "answers.jsonl").write_text("mine\n")
    with pytest.raises(EvaluationError, match=r"holds 'answers\.jsonl' and no settings\.json"):
        run()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["answers.jsonl"]
    assert contents(tmp_path / "out") == {"answers.jsonl": b"mine\n"}


def test_a_folder_is_looked_at_before_the_model_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr("amulet_integrations.engine.shared_engine", lambda _: pytest.fail("loaded"))
    (tmp_path / "mine.txt").write_text("mine")
    for output in (tmp_path, tmp_path / "mine.txt", tmp_path / "mine.txt" / "deeper"):
        with pytest.raises(EvaluationError, match="Choose an"):
            evaluate("embedded", [QUESTION], ["creative"], ["base"], output=output)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_what_is_no_folder(run, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(EvaluationError, match="cannot be written"):
        run(output=tmp_path / "file")
    run()
    (tmp_path / "out" / "settings.json").write_text("{")
    with pytest.raises(EvaluationError, match=r"settings\.json is not JSON"):
        run()
    with pytest.raises(EvaluationError, match="cannot be read"):
        Evaluation.read(tmp_path / "nowhere")


def test_killed_before_the_settings_were_whole(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".settings.json.new").write_text('{"mod')
    assert len(run().answers) == 2


def test_two_runs_do_not_write_one_folder(run, tmp_path):
    (tmp_path / "out").mkdir()
    with (
        FileLock(tmp_path / "out" / ".lock"),
        pytest.raises(EvaluationError, match="Another run writes"),
    ):
        run()
    assert contents(tmp_path / "out") == {}
    assert len(run().answers) == 2


def test_differences_are_told_by_name():
    there = {"a": 1, "b": {"c": 2}, "d": [{"name": "x", "e": 1}, {"name": "y", "e": 1}]}
    asked = {"a": 1, "b": {"c": 3}, "d": [{"name": "x", "e": 2}], "f": 4}
    assert list(differences(there, asked)) == [
        "b.c is 2 there and 3 here",
        "d is ['x', 'y'] there and ['x'] here",
        "d.x.e is 1 there and 2 here",
        "f is None there and 4 here",
    ]
    assert list(differences(there, there)) == []
