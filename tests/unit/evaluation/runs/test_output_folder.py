"""What is recorded of a run, and which folders a run may use."""

from __future__ import annotations

import json

import pytest
import torch
import transformers
from filelock import FileLock

import amulet_integrations
from amulet_integrations.engine import LocalEngine
from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation import Evaluation, Question, evaluate
from amulet_integrations.evaluation.runs.run_settings import differences
from tests.support.tiny import tiny_model, tiny_tokenizer

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


def test_a_run_of_the_same_settings_is_resumed(run, tmp_path):
    first = run()
    before = contents(tmp_path / "out")
    assert run() == first
    assert contents(tmp_path / "out") == before
    assert Evaluation.read(tmp_path / "out") == first


class Kind:
    """A scorer and judge that treats all answers and pairs alike."""

    def __init__(self, name, score="kindness"):
        self.name, self._score, self.calls = name, score, 0
        self.model_name = name

    def score(self, answers, preferences):
        return [{self._score: 1.0} for _ in answers]

    def batch(self, inputs):
        self.calls += len(inputs)
        return ["TIE" for _ in inputs]


def test_scores_and_verdicts_of_earlier_runs_are_kept(run, tmp_path):
    first = run(scorers=[Kind("ann")], judge=Kind("ann"))
    again = run(scorers=[Kind("bob", "other")], judge=Kind("bob"))
    assert again.scorers == ("likelihoods", "bob", "ann")
    assert [one.against for one in again.outcomes] == ["base", "base"]
    assert again.judges == (*first.judges, Kind("bob").name + again.judges[1][3:])
    assert {"kindness", "other"} <= set(again.score_names)
    assert set(Evaluation.read(tmp_path / "out").outcomes) == set(again.outcomes)
    assert run().outcomes == again.outcomes
    # Who gives the same score as a scorer of this run stays out of its tables.
    other = run(scorers=[Kind("carl")])
    assert "ann" not in other.scorers
    with pytest.raises(EvaluationError, match="'ann' and 'carl' both give a score 'kindness'"):
        Evaluation.read(tmp_path / "out")


@pytest.mark.parametrize("other", ["weights", "template"])
def test_another_model_of_the_same_name_is_refused(run, tmp_path, other):
    """Another fine-tune under the same path, or another way to write its prompts."""
    run()
    before = contents(tmp_path / "out")
    tokenizer, model = tiny_tokenizer(), tiny_model(seed=1 if other == "weights" else 0)
    if other == "template":
        tokenizer.chat_template = tokenizer.chat_template.replace("<|im_start|>", "## ")
    with (
        LocalEngine(model, tokenizer, model_name="tiny") as engine,
        pytest.raises(EvaluationError, match=r"(model|prompts)_sha256"),
    ):
        evaluate(
            engine, [QUESTION], ["creative"], ["base", "amulet"],
            max_new_tokens=3, output=tmp_path / "out",
        )  # fmt: skip
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_new_tokens": 4}, "max_new_tokens is 3 there and 4 here"),
        ({"seed": 1}, "seed is 0 there and 1 here"),
        ({"methods": ["base"]}, r"methods is \['base', 'amulet'\] there and \['base'\] here"),
        ({"preferences": ["creative=Rhyme."]}, "preferences.creative.text is 'Your answer"),
        ({"questions": [QUESTION.model_copy(update={"text": "How?"})]}, "data_sets.own.sha256"),
        ({"set_up": "paper"}, "set_up.name is 'default' there and 'paper' here"),
    ],
)
def test_other_settings_are_refused(run, tmp_path, changes, message):
    run()
    before = contents(tmp_path / "out")
    with pytest.raises(EvaluationError, match=message):
        run(**changes)
    assert contents(tmp_path / "out") == before


def test_other_versions_are_refused(run, tmp_path):
    run()
    path = tmp_path / "out" / "settings.json"
    path.write_text(path.read_text().replace(torch.__version__, "1.0"))
    with pytest.raises(EvaluationError, match=r"versions.torch is '1\.0' there"):
        run()


def test_a_folder_of_other_files_is_left_alone(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "answers.jsonl").write_text("mine\n")
    with pytest.raises(EvaluationError, match=r"holds 'answers\.jsonl' and no settings\.json"):
        run()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["answers.jsonl"]
    assert contents(tmp_path / "out") == {"answers.jsonl": b"mine\n"}


def test_a_folder_is_checked_before_the_model_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr("amulet_integrations.engine.shared_engine", lambda _: pytest.fail("loaded"))
    (tmp_path / "mine.txt").write_text("mine")
    for output in (tmp_path, tmp_path / "mine.txt", tmp_path / "mine.txt" / "deeper"):
        with pytest.raises(EvaluationError, match="Choose an"):
            evaluate("embedded", [QUESTION], ["creative"], ["base"], output=output)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_evaluation_of_another_program_gets_no_lock(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "settings.json").write_text('{"model": "theirs"}')
    with pytest.raises(EvaluationError, match="model is 'theirs' there"):
        run()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["settings.json"]


def test_paths_and_settings_that_cannot_be_read_are_refused(run, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(EvaluationError, match="cannot be written"):
        run(output=tmp_path / "file")
    run()
    (tmp_path / "out" / "settings.json").write_text("{")
    with pytest.raises(EvaluationError, match=r"settings\.json is not JSON"):
        run()
    with pytest.raises(EvaluationError, match="cannot be read"):
        Evaluation.read(tmp_path / "nowhere")


def test_unfinished_settings_of_a_killed_run_are_replaced(run, tmp_path):
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


def test_differences_have_the_name_and_both_values():
    # The order is that of the settings, however names are hashed in this process.
    many = [[{"name": name, "e": e} for name in "pqrstuvw"] for e in (1, 2)]
    assert [line.split()[0] for line in differences(*many)] == [f".{name}.e" for name in "pqrstuvw"]
    stored = {"a": 1, "b": {"c": 2}, "d": [{"name": "x", "e": 1}, {"name": "y", "e": 1}]}
    current = {"a": 1, "b": {"c": 3}, "d": [{"name": "x", "e": 2}], "f": 4}
    assert list(differences(stored, current)) == [
        "b.c is 2 there and 3 here",
        "d is ['x', 'y'] there and ['x'] here",
        "d.x.e is 1 there and 2 here",
        "f is None there and 4 here",
    ]
    assert list(differences(stored, stored)) == []
