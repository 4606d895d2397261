"""A judge compares Amulet's answers with all others, and is never asked twice."""

from __future__ import annotations

import itertools
import subprocess
import sys
from types import SimpleNamespace

import pytest

from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation import Evaluation, evaluate, read_methods, win_counts
from amulet_integrations.evaluation.data.record_types import Outcome
from amulet_integrations.evaluation.judging import judge_prompts
from amulet_integrations.evaluation.judging.judge import ask_judge, judge_name
from amulet_integrations.evaluation.runs.journal import Journal
from tests.support.evaluations import QUESTIONS
from tests.unit.evaluation import made

METHODS = ["base", "pref", "amulet", "amulet@2"]


class Judge:
    """Gives the scripted replies, the last one again and again, and fails after some pairs."""

    def __init__(self, patience=1000, model="fair-7b", replies=("A",)):
        self.calls, self.patience, self.model = 0, patience, model
        self.replies = itertools.chain(replies, itertools.repeat(replies[-1]))

    def batch(self, inputs):
        if self.calls + len(inputs) > 2 * self.patience:
            raise ConnectionError("gone")
        self.calls += len(inputs)
        return list(itertools.islice(self.replies, len(inputs)))


def run(tiny_engine, judge, output=None, methods=METHODS):
    return evaluate(
        tiny_engine, QUESTIONS, ["creative"], methods,
        max_new_tokens=3, judge=judge, output=output,
    )  # fmt: skip


def ask(judge, path, questions=20, **options):
    """Asks about a pair for each question, and goes on where the journal of the path stops."""
    answers = [
        made.answer(method, index=index)
        for index in range(questions)
        for method in ("pref", "amulet")
    ]
    methods = read_methods(["pref", "amulet"])
    with Journal(path, Outcome) as journal:
        return ask_judge(judge, answers, methods, made.preferences(), journal, **options)


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
    assert again.calls == 0
    assert Evaluation.read(tmp_path) == first
    other = Judge(model="another")
    run(tiny_engine, other, tmp_path)
    assert other.calls == 12


def test_two_judges_of_one_folder_are_kept_apart(tiny_engine, tmp_path):
    """One calls everything a tie; the other one likes whichever answer is not Amulet's."""
    fair = run(tiny_engine, Judge(), tmp_path)
    harsh = run(tiny_engine, Judge(model="harsh", replies=["B", "A"] * 6), tmp_path)
    assert Evaluation.read(tmp_path).outcomes == harsh.outcomes
    assert harsh.outcomes[: len(fair.outcomes)] == fair.outcomes
    counts = win_counts(Evaluation.read(tmp_path).outcomes)
    assert [(c.judge.split()[0], c.against, c.wins, c.ties, c.losses) for c in counts] == [
        ("fair-7b", "base", 0, 3, 0),
        ("fair-7b", "pref", 0, 3, 0),
        ("harsh", "base", 0, 0, 3),
        ("harsh", "pref", 0, 0, 3),
    ]


def test_what_was_judged_before_a_failure_is_kept(tiny_engine, tmp_path):
    methods = ["base", "pref", "beam_search@2", "linear_alignment", "amulet"]
    whole = run(tiny_engine, Judge(), methods=methods)
    assert len(whole.outcomes) == 12
    with pytest.raises(EvaluationError, match="gone"):
        run(tiny_engine, Judge(patience=8), tmp_path, methods)
    assert Evaluation.read(tmp_path).outcomes == whole.outcomes[:8]
    again = Judge()
    assert run(tiny_engine, again, tmp_path, methods).outcomes == whole.outcomes
    assert again.calls == 2 * 4
    assert Evaluation.read(tmp_path).outcomes == whole.outcomes


def test_a_resumed_run_ends_with_a_few_replies_that_cannot_be_read(tmp_path):
    path = tmp_path / "outcomes.jsonl"
    ask(Judge(), path, questions=18)
    outcomes = ask(Judge(replies=["nonsense"]), path)
    assert [one.result for one in outcomes] == ["tie"] * 18 + [None] * 2
    assert Journal.read(path, Outcome) == outcomes


def test_one_readable_reply_of_an_earlier_run_is_enough(tmp_path):
    path = tmp_path / "outcomes.jsonl"
    ask(Judge(replies=["nonsense"] * 7 + ["A", "nonsense"]), path, questions=18)
    assert len(ask(Judge(replies=["nonsense"]), path)) == 20


def test_replies_of_another_judge_do_not_count(tmp_path):
    path = tmp_path / "outcomes.jsonl"
    ask(Judge(model="another"), path)
    with pytest.raises(EvaluationError, match="none of them could be read"):
        ask(Judge(replies=["nonsense"]), path)


def test_an_unreadable_judge_leaves_nothing_behind(tmp_path):
    path = tmp_path / "outcomes.jsonl"
    with pytest.raises(EvaluationError, match="32 replies and none of them could be read"):
        ask(Judge(replies=["nonsense"]), path)
    assert Journal.read(path, Outcome) == []
    better = Judge()
    assert {one.result for one in ask(better, path)} == {"tie"}
    assert better.calls == 40


def test_a_judge_that_fails_before_it_is_understood_leaves_nothing(tmp_path):
    path = tmp_path / "outcomes.jsonl"
    with pytest.raises(EvaluationError, match="gone"):
        ask(Judge(patience=8, replies=["nonsense"]), path)
    assert Journal.read(path, Outcome) == []


def test_waiting_outcomes_are_stored_in_the_order_of_the_pairs(tmp_path):
    path = tmp_path / "outcomes.jsonl"
    ask(Judge(replies=["nonsense"] * 18 + ["A"]), path)
    lines = Journal.read(path, Outcome)
    assert [line.index for line in lines] == list(range(20))
    assert [line.result for line in lines] == [None] * 9 + ["tie"] * 11


def test_progress_counts_what_an_earlier_run_did(tmp_path):
    path, reports = tmp_path / "outcomes.jsonl", []
    ask(Judge(), path, questions=18)
    ask(Judge(), path, on_progress=reports.append)
    assert [(one.done, one.total, one.share) for one in reports] == [
        (18, 20, pytest.approx(0.9)),
        (20, 20, 1.0),
    ]
    assert {one.stage for one in reports} == {f"judge {judge_name(Judge())}"}


def test_progress_goes_on_when_the_judge_was_asked_and_not_in_between(tmp_path):
    """Nothing is reported twice without a question in between: a bar takes that for great speed."""
    judge, reports = Judge(), []

    def on_progress(progress):
        reports.append((judge.calls, progress.done))

    ask(judge, tmp_path / "outcomes.jsonl", on_progress=on_progress)
    calls, done = zip(*reports, strict=True)
    assert len(set(calls)) == len(calls) > 2
    assert [2 * pairs for pairs in done] == list(calls)


PROMPT = judge_prompts.prompt_digest()


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"model_name": "gpt-5"}, "gpt-5"),
        ({"model_name": "gpt-5", "temperature": 0.0}, "gpt-5 (temperature 0)"),
        ({"model_name": "gpt-5", "temperature": 0}, "gpt-5 (temperature 0)"),
        ({"model": "m", "temperature": 0.25, "seed": 3}, "m (temperature 0.25, seed 3)"),
        ({"model": "m", "seed": 3, "top_p": 0.5, "top_k": 9}, "m (top p 0.5, top k 9, seed 3)"),
        ({"model": "m", "dtype": "float16", "top_p": 0.0}, "m (dtype float16, top p 0)"),
        ({"model": "m", "dtype": "auto", "top_p": 1.0, "top_k": 0}, "m"),
        ({"model": "m", "temperature": None, "revision": "v2"}, "m (revision v2)"),
        ({"model_id": "m", "reasoning_effort": "low"}, "m (reasoning effort low)"),
        ({"model_name": None, "deployment_name": "ours"}, "ours"),
        ({"model": object(), "max_tokens": 16}, "SimpleNamespace (max tokens 16)"),
        ({"model": "m", "api_key": "sk-1", "user_id": "ann", "metadata": {"a": "sk-2"}}, "m"),
    ],
)
def test_a_judge_is_named_by_what_changes_its_verdicts(settings, name):
    judge = SimpleNamespace(**settings)
    if not name.endswith(")"):
        name += " ()"
    expected = f"{name[:-1]}, prompt {PROMPT})".replace("(, ", "(")
    assert judge_name(judge) == expected


def test_arguments_that_are_bound_to_a_model_change_its_name(tiny_engine):
    from amulet_integrations.langchain import ChatAmulet

    model = ChatAmulet(engine=tiny_engine, preference="my secret", user_id=None, max_tokens=4)
    name = f"{tiny_engine.model_name} (method amulet, temperature 0, max tokens 4, prompt {PROMPT})"
    assert judge_name(model) == name
    assert judge_name(model.bind(stop=["."], preference="my secret")) == name
    bound = model.bind(temperature=0.5, method="base")
    assert judge_name(bound) == name.replace("amulet,", "base,").replace("ture 0,", "ture 0.5,")
    other = ChatAmulet(engine=tiny_engine, max_tokens=4, dtype="float16")  # without effect
    assert judge_name(other) == name
    few = model.bind(top_k=3, top_p=0.9)
    assert judge_name(few) == name.replace("ture 0,", "ture 0, top p 0.9, top k 3,")


@pytest.mark.parametrize("part", ["_SYSTEM", "_USER"])
def test_another_prompt_is_another_judge(monkeypatch, tmp_path, part):
    path = tmp_path / "outcomes.jsonl"
    before = ask(Judge(), path)
    monkeypatch.setattr(judge_prompts, part, f"Be fair. {getattr(judge_prompts, part)}")
    again = Judge()
    after = ask(again, path)
    assert again.calls == 40
    assert len({one.judge for one in (*before, *after)}) == 2


def test_the_prompts_digest_is_the_same_in_every_process():
    code = (
        "from amulet_integrations.evaluation.judging import judge_prompts; "
        "print(judge_prompts.prompt_digest())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [PROMPT]
