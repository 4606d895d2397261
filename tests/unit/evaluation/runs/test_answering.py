"""Answers are those of the engine alone, written at once, and a killed run goes on."""

from __future__ import annotations

import json
import signal
import threading
import time
from concurrent import futures

import pytest

from amulet_integrations import AmuletParams, SamplingParams
from amulet_integrations.decoding import amulet_weights
from amulet_integrations.engine import GenerationRequest
from amulet_integrations.engine.result import GenerationResult, Usage
from amulet_integrations.errors import EvaluationError, GenerationError
from amulet_integrations.evaluation import Evaluation, Question, evaluate
from amulet_integrations.evaluation.runs import answering
from amulet_integrations.evaluation.runs.answering import IN_FLIGHT, without_end
from amulet_integrations.prompting import ChatMessage, PromptBuilder
from tests.support.evaluations import QUESTIONS, lines_of, run
from tests.support.evaluations import running as running_apart
from tests.support.scripted import ScriptedEngine
from tests.support.tiny import CONTEXT_WINDOW


class Failing:
    """An engine that fails at the nth request."""

    def __init__(self, engine, at):
        self._engine, self._at, self.requests = engine, at, 0
        self._answered = []

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def stream(self, request):
        self.requests += 1
        if self.requests > self._at:
            for answered in self._answered:  # so that it is known what was whole before
                assert answered.wait(30)
            time.sleep(0.1)
            raise GenerationError("the model broke")
        self._answered.append(threading.Event())
        return _Signalling(self._engine.stream(request), self._answered[-1])


class _Signalling:
    def __init__(self, stream, whole):
        self._stream, self._whole = stream, whole

    def __iter__(self):
        yield from self._stream
        self._whole.set()

    def close(self):
        self._stream.close()


class Counting:
    """An engine that counts its requests, and how many ran at once."""

    def __init__(self, engine):
        self._engine, self._lock = engine, threading.Lock()
        self.requests = self.running = self.most = 0

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def stream(self, request):
        with self._lock:
            self.requests += 1
            self.running += 1
            self.most = max(self.most, self.running)
        return _Stream(self, self._engine.stream(request))


class _Stream:
    def __init__(self, engine, stream):
        self._engine, self._stream = engine, stream

    def __iter__(self):
        yield from self._stream
        with self._engine._lock:
            self._engine.running -= 1

    def close(self):
        self._stream.close()


def test_each_answer_is_what_the_engine_gives_alone(tiny_engine):
    """Prompts by hand, one request at a time, and the end taken off by hand."""
    texts = {"creative": "Your answer should be creative as much as possible.", "Rhyme.": "Rhyme."}
    weights = {"base": (1.0, 0.0), "pref": (0.0, 1.0), "amulet@2": amulet_weights(AmuletParams(iterations=2))}  # fmt: skip # noqa: E501
    found = evaluate(tiny_engine, QUESTIONS, list(texts), list(weights), max_new_tokens=12)
    assert len(found.answers) == len(QUESTIONS) * len(texts) * len(weights)
    prompts = PromptBuilder(tiny_engine.tokenizer)
    for one in found.answers:
        contexts = prompts.contexts(
            [ChatMessage(role="user", content=one.question)], [None, texts[one.preference]]
        )
        (alone,) = tiny_engine.generate(
            [
                GenerationRequest(
                    contexts=contexts,
                    weights=weights[one.method],
                    sampling=SamplingParams(max_new_tokens=12),
                )
            ]
        )
        ends = alone.token_ids[-1:] == [1]
        assert one.text == alone.text
        assert one.token_ids == tuple(alone.token_ids[: len(alone.token_ids) - ends])
        assert one.finish_reason == alone.finish_reason


def test_a_bound_reaches_the_engine_and_is_not_that_of_another_method(tiny_engine, tmp_path):
    bounds = {"amulet@p=5": None, "amulet@p=5,kl=0.05": 0.05, "amulet@p=5,kl=2": 2.0}
    found = evaluate(
        tiny_engine, QUESTIONS, ["Rhyme."], list(bounds), max_new_tokens=12, output=tmp_path
    )
    prompts = PromptBuilder(tiny_engine.tokenizer)
    for one in found.answers:
        contexts = prompts.contexts(
            [ChatMessage(role="user", content=one.question)], [None, "Rhyme."]
        )
        request = GenerationRequest(
            contexts=contexts,
            weights=(-4.0, 5.0),
            max_kl=bounds[one.method],
            sampling=SamplingParams(max_new_tokens=12),
        )
        (alone,) = tiny_engine.generate([request])
        assert one.text == alone.text
        fractions = alone.guidance_fractions
        share = sum(part < 1 for part in fractions) / len(fractions) if fractions else None
        assert one.bounded_tokens == (share if share is None else pytest.approx(share, abs=1e-6))
        assert one.scores.get("bounded_tokens") == one.bounded_tokens
    means = [found.mean("bounded_tokens", method=method) for method in bounds]
    assert means[0] is None
    assert 1.0 >= means[1] > means[2]
    assert Evaluation.read(tmp_path) == found


@pytest.mark.parametrize(
    ("text", "ending", "reason"),
    [
        ("Be brief.", "<|im_end|>", "stop"),
        ("", "<|im_end|>", "stop"),
        ("Be brief.", "The sea", "stop"),  # a stop string
        ("Be brief.", "", "length"),
    ],
)
def test_what_ends_a_text_is_no_part_of_it(tiny_engine, text, ending, reason):
    tokenizer = tiny_engine.tokenizer
    written, end = (tokenizer(part, add_special_tokens=False).input_ids for part in (text, ending))
    result = GenerationResult([*written, *end], text, reason, Usage(1, 1, (1,)))
    assert tokenizer.decode(without_end(tiny_engine, result)) == text


def test_many_are_in_flight_at_once(tiny_engine):
    engine = Counting(tiny_engine)
    questions = [Question(data_set="a", index=n, text=f"{n}?") for n in range(50)]
    evaluate(engine, questions, ["creative"], ["base"], max_new_tokens=2)
    assert engine.requests == 50
    assert 8 < engine.most <= IN_FLIGHT


def test_every_answer_is_on_the_disk_before_it_is_reported(tiny_engine, tmp_path):
    seen = []

    def progress(report):
        if report.stage == "answers":
            file = tmp_path / "answers.jsonl"
            lines = file.read_text().splitlines() if file.exists() else []
            seen.append((report.done, len(lines), report.total))

    evaluate(
        tiny_engine, QUESTIONS, ["creative"], ["base", "pref"],
        max_new_tokens=3, output=tmp_path, progress=progress,
    )  # fmt: skip
    assert seen == [(n, n, 6) for n in range(7)]


def test_progress_counts_work(tiny_engine):
    shares = []
    evaluate(
        tiny_engine, QUESTIONS[:1], ["creative"], ["base", "amulet", "beam_search@5"],
        max_new_tokens=2, progress=lambda report: shares.append((report.stage, report.share)),
    )  # fmt: skip
    answers = [share for stage, share in shares if stage == "answers"]
    assert answers[0] == 0.0
    assert answers[1] in {1 / 8, 2 / 8}  # rows: 1 and 2, whichever is first, and 5
    assert answers[2:] == [3 / 8, 1.0]
    assert shares[-1] == ("likelihoods", 1.0)


def test_a_failure_leaves_the_answers_before_it(tiny_engine, tmp_path):
    options = {"max_new_tokens": 3, "output": tmp_path}
    failing = Failing(tiny_engine, 4)
    with pytest.raises(GenerationError, match="the model broke"):
        evaluate(failing, QUESTIONS, ["creative"], ["base", "pref"], **options)
    kept = len(lines_of(tmp_path))
    assert kept == 4
    engine = Counting(tiny_engine)
    whole = evaluate(engine, QUESTIONS, ["creative"], ["base", "pref"], **options)
    assert engine.requests == 6 - kept
    alone = evaluate(tiny_engine, QUESTIONS, ["creative"], ["base", "pref"], max_new_tokens=3)
    assert list(map(_untimed, whole.answers)) == list(map(_untimed, alone.answers))


def test_a_callback_that_raises_ends_it(tiny_engine, tmp_path):
    def progress(report):
        if report.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(
            tiny_engine, QUESTIONS, ["creative"], ["base", "pref"],
            max_new_tokens=3, output=tmp_path, progress=progress,
        )  # fmt: skip
    assert len(lines_of(tmp_path)) == 2
    # Nothing runs on, and the folder is free again.
    found = evaluate(
        tiny_engine, QUESTIONS, ["creative"], ["base", "pref"], max_new_tokens=3, output=tmp_path
    )
    assert len({one.key for one in found.answers}) == len(lines_of(tmp_path)) == 6


def test_same_seed_same_answers(tiny_engine):
    def texts(seed, questions=QUESTIONS, methods=("base", "amulet@2")):
        found = evaluate(
            tiny_engine, questions, ["creative"], methods,
            max_new_tokens=8, temperature=1.0, seed=seed,
        )  # fmt: skip
        return {one.key: one.token_ids for one in found.answers}

    first = texts(3)
    assert texts(3) == first
    assert texts(4) != first
    # Other questions and methods make no difference.
    assert texts(3, QUESTIONS[1:], ["base"]).items() <= first.items()


def test_beam_search_needs_the_model():
    with pytest.raises(EvaluationError, match="ScriptedEngine does not have"):
        evaluate(ScriptedEngine(), QUESTIONS, ["creative"], ["base", "beam_search"])


LONG = Question(data_set="own", index=8, text="zq" * CONTEXT_WINDOW)


def test_a_question_that_is_too_long_is_reported_before_anything_runs(tiny_engine):
    engine = Counting(tiny_engine)
    with pytest.raises(EvaluationError, match=f"Question 8 of 'own'.*{CONTEXT_WINDOW} tokens"):
        evaluate(engine, [QUESTIONS[0], LONG], ["creative"], ["base"])
    with pytest.raises(EvaluationError, match="Question 8 of 'own'"):  # nothing is left of these
        evaluate(engine, [LONG], ["creative"], ["base"], skip_too_long=True)
    assert engine.requests == 0


def test_a_question_that_is_too_long_can_be_left_out(tiny_engine, tmp_path):
    questions = [QUESTIONS[0], LONG, LONG.model_copy(update={"index": 9, "text": "Short?"})]
    found = evaluate(
        tiny_engine, questions, ["creative"], ["base"],
        max_new_tokens=3, output=tmp_path, skip_too_long=True,
    )  # fmt: skip
    assert [(one.data_set, one.index) for one in found.answers] == [("asked", 0), ("own", 9)]
    assert Evaluation.read(tmp_path).settings.left_out == {"own": 1}


def test_every_answer_has_room_and_can_be_measured_with_the_preference(tiny_engine):
    """A prompt is refused if an answer of full length would not fit behind the longer context."""
    question = QUESTIONS[0]
    preference = "Answer " + "very " * 40 + "well."
    prompts = PromptBuilder(tiny_engine.tokenizer)
    longest = max(
        len(ids)
        for ids in prompts.contexts(
            [ChatMessage(role="user", content=question.text)], [None, preference]
        )
    )
    room = CONTEXT_WINDOW - longest
    found = evaluate(tiny_engine, [question], [preference], ["base"], max_new_tokens=room)
    assert len(found.answers[0].token_ids) > room / 2
    assert "preference_ratio" in found.answers[0].scores
    with pytest.raises(EvaluationError, match=f"no room for answers of {room + 1}"):
        evaluate(tiny_engine, [question], [preference], ["base"], max_new_tokens=room + 1)


def test_equal_requests_are_sent_once(tiny_engine):
    def run(temperature):
        engine = Counting(tiny_engine)
        found = evaluate(
            engine, QUESTIONS, ["creative", "concise"], ["base", "pref", "amulet@0"],
            max_new_tokens=4, temperature=temperature,
        )  # fmt: skip
        assert len({one.key for one in found.answers}) == len(found.answers) == 18
        return engine.requests, found

    # The base answer of a question is one, and no iteration is the prompt with the preference.
    requests, found = run(0.0)
    assert requests == 9
    texts = {(one.index, one.token_ids) for one in found.select(method="base")}
    assert len(texts) == len(QUESTIONS)
    requests, _ = run(1.0)
    assert requests == 18


def test_answers_beside_a_failure_are_kept(tiny_engine, tmp_path, monkeypatch):
    """All futures are done at once, the failed one first; the others' answers are written."""
    failed = []

    class First:
        def __getattr__(self, name):
            return getattr(tiny_engine, name)

        def stream(self, request):
            if not failed:
                failed.append(request)
                return _Broken()
            return tiny_engine.stream(request)

    class _Broken:
        def __iter__(self):
            raise GenerationError("the model broke")

        def close(self):
            pass

    def all_done(running, return_when):
        return [futures.wait([future]).done.pop() for future in running], set()

    monkeypatch.setattr(answering, "wait", all_done)
    with pytest.raises(GenerationError, match="the model broke"):
        evaluate(First(), QUESTIONS, ["creative"], ["base"], max_new_tokens=3, output=tmp_path)
    assert len(lines_of(tmp_path)) == len(QUESTIONS) - 1


def test_a_killed_run_is_resumed(tmp_path):
    """SIGKILL after some answers; the rest is added, and nothing is there twice."""
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    with running_apart("tiny", killed, patience=120) as process:
        for line in process.stdout:
            if line == "answers 7\n":
                process.send_signal(signal.SIGKILL)
                break
        assert process.wait(30) == -signal.SIGKILL

    before = (killed / "answers.jsonl").read_bytes()
    assert before.count(b"\n") >= 7
    with (killed / "answers.jsonl").open("ab") as file:
        file.write(b'{"data_set":"asked","ind')  # as if killed while writing
    resumed, uninterrupted = run("tiny", killed), run("tiny", whole)

    assert (killed / "answers.jsonl").read_bytes().startswith(before)
    assert lines_of(killed) == lines_of(whole)
    assert lines_of(killed, "scores.jsonl") == lines_of(whole, "scores.jsonl")
    assert [_untimed(one) for one in resumed.answers] == [
        _untimed(one) for one in uninterrupted.answers
    ]


def _untimed(one):
    return json.loads(one.model_dump_json(exclude={"seconds"}))
