"""The study behind the default strength: its rule, and that it goes on where it was stopped."""

from __future__ import annotations

import pytest

from amulet_integrations.decoding.sampling_params import SamplingParams
from amulet_integrations.engine import LocalEngine
from amulet_integrations.engine.request import GenerationRequest
from amulet_integrations.evaluation.runs.journal import Journal
from amulet_integrations.prompting import ChatMessage, PromptBuilder
from benchmarks.defaults import study
from benchmarks.defaults.questions import Question
from benchmarks.defaults.rule import Figures, choose, misses
from benchmarks.defaults.settings import BASE, CANDIDATES, PAPER, PREF, Setting, loop_breakers
from benchmarks.defaults.study import RecordedAnswer, Study, jobs, missing
from tests.support.tiny import tiny_model, tiny_tokenizer

GOOD = Figures(0.3, 0.05, 0.04, 0.01, 5, 5, 360, 36, 38, 60)


def test_the_largest_ratio_that_passes_is_chosen():
    settings = {
        "mild": GOOD._replace(ratio=0.2),
        "good": GOOD,
        "unlikely": GOOD._replace(ratio=0.9, nll_rise=0.11),
        "off topic": GOOD._replace(ratio=0.9, relevance_fall=0.06),
        "loops": GOOD._replace(ratio=0.9, repetition_rise=0.04),
        "one more broken": GOOD._replace(ratio=0.9, broken=6),
        "four facts lost": GOOD._replace(ratio=0.9, right=34),
    }
    assert choose(settings) == ("good", {})


def test_what_is_allowed_is_allowed_to_the_last_bit():
    assert not misses(Figures(0.3, 0.10, 0.05, 0.03, 5, 5, 360, 35, 38, 60))
    assert not misses(GOOD._replace(right=210, pref_right=228, facts=360))


def test_where_none_passes_the_one_that_misses_least_is_named_with_what_it_misses():
    settings = {
        "far": GOOD._replace(ratio=0.9, nll_rise=0.5),
        "near": GOOD._replace(nll_rise=0.12, broken=9, answers=400),
        "nearest": GOOD._replace(ratio=0.1, nll_rise=0.15),
    }
    name, missed = choose(settings)
    assert name == "nearest"
    assert {key: round(miss, 6) for key, miss in missed.items()} == {"nll": 0.5}
    assert {key: round(miss, 6) for key, miss in misses(settings["near"]).items()} == {
        "nll": 0.2,
        "broken": 1.0,
    }


def test_only_what_is_not_there_is_asked(tmp_path):
    asked = [Question("set/1", "set", "Why?"), Question("set/2", "set", "How?")]
    every = list(jobs([BASE, PREF, PAPER], asked, {"a": "Be a.", "b": "Be b."}))
    # The base policy says the same under both.
    assert [len(job.settings) for job in every] == [1, 2, 2] * 2
    path = tmp_path / "answers.jsonl"
    with Journal(path, RecordedAnswer) as journal:
        journal.add(_answer(*every[1].keys(PREF)[0]), _answer(*every[0].keys(BASE)[0]))
    with Journal(path, RecordedAnswer) as journal:
        left = every[1]._replace(settings=(PAPER,))
        assert missing(every, journal) == [every[0], left, *every[2:]]
        journal.lines.append(_answer(*every[0].keys(BASE)[1]))
        assert missing(every, journal) == [left, *every[2:]]


def test_a_settings_name_can_be_read():
    for setting in (BASE, PREF, PAPER, *CANDIDATES, *loop_breakers(CANDIDATES[2])):
        assert Setting.read(setting.name) == setting


def test_settings_that_share_requests_answer_as_each_does_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "QUESTION_TOKENS", 16)
    settings = [
        PREF,
        Setting(4.0, 0.05),
        Setting(4.0, 0.3),
        Setting(4.0),
        Setting(4.0, 0.3, repetition_penalty=1.3),
    ]
    question = Question("set/1", "set", "Why is the sea blue?")
    with (
        LocalEngine(tiny_model(), tiny_tokenizer(), prompt_lookup_num_tokens=0) as engine,
        Journal(tmp_path / "answers.jsonl", RecordedAnswer) as journal,
    ):
        said = []
        Study(engine, journal, said.append).run(
            jobs([BASE, *settings], [question], {"short": "Be brief.", "long": "Be long."}), "study"
        )
        assert len(journal.lines) == 2 * (1 + len(settings))
        prompts = PromptBuilder(engine.tokenizer)
        message = ChatMessage(role="user", content=question.text)
        for answer in journal.lines:
            setting = Setting.read(answer.setting)
            text = {"short": "Be brief.", "long": "Be long."}[answer.preference]
            contexts = prompts.contexts([message], [None, text])
            request = GenerationRequest(
                contexts=contexts,
                weights=[1 - setting.guidance_scale, setting.guidance_scale],
                max_kl=setting.max_kl,
                sampling=SamplingParams(
                    max_new_tokens=16, repetition_penalty=setting.repetition_penalty
                ),
            )
            (alone,) = engine.generate([request])
            assert answer.text == alone.text
            tokens = alone.token_ids[: len(alone.token_ids) - answer.ended]
            scores = engine.score(contexts, tokens).tolist()
            for noted, scored in zip((answer.base, answer.pref), scores, strict=True):
                assert noted == pytest.approx(scored, abs=1e-3)
    texts = {answer.text for answer in journal.lines}
    assert len(texts) > 6  # or nothing has parted


def _answer(set_up, setting, asked, preference):
    return RecordedAnswer(
        set_up=set_up,
        setting=setting,
        set_="set",
        asked=asked,
        preference=preference,
        text="",
        ended=True,
        base=[],
        pref=[],
        end_base=[-1.0],
        end_pref=[-0.5],
        held=0.0,
    )
