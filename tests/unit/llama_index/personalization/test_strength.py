"""A strength and its bound reach the engine from every entry point, and the answer reports them."""

from __future__ import annotations

import pytest
from llama_index.core import Document, SummaryIndex
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from amulet_integrations import (
    AmuletParams,
    InMemoryProfileStore,
    PreferenceProfile,
    preference_scope,
)
from amulet_integrations.decoding.strength import PRESETS
from amulet_integrations.errors import InvalidParamsError
from amulet_integrations.llama_index import AmuletLLM
from tests.support.scripted import ScriptedEngine
from tests.unit.llama_index.support import QUESTION, chat_messages, small_llm

pytestmark = pytest.mark.usefixtures("shared_parents")

CHAT = chat_messages(("user", QUESTION))
SCALE, BOUND = PRESETS["default"]
GENTLE = AmuletParams(iterations=2)
STRENGTHS = [
    ({"guidance_scale": 2.75}, (2.75, BOUND, None)),
    ({"guidance_scale": 2.75, "max_kl": None}, (2.75, None, None)),
    ({"params": GENTLE, "max_kl": 0.3}, (GENTLE.guidance_scale, 0.3, None)),
    ({"preset": "paper"}, (PRESETS["paper"].guidance_scale, None, "paper")),
    ({"max_kl": 0.05}, (SCALE, 0.05, None)),
    ({"max_kl": None}, (SCALE, None, None)),
]


class Word(BaseModel):
    word: str


class Roomy(ScriptedEngine):
    context_window = 8192


def depth(sea: str) -> str:
    """Looks up how deep a sea is."""
    return f"The {sea} is 5,000 m deep."


def llm_of(engine, **settings):
    return AmuletLLM(**{"engine": engine, "preference": "Be brief.", **settings})


def in_a_scope(engine, strength):
    with preference_scope(**strength):
        return llm_of(engine).complete(QUESTION)


def by_a_query_engine(engine, strength):
    index = SummaryIndex.from_documents(
        [Document(text="The sea is blue.")], embed_model=MockEmbedding(embed_dim=4)
    )
    query_engine = index.as_query_engine(llm=llm_of(engine), response_mode="compact")
    with preference_scope(**strength):
        query_engine.query(QUESTION)


def of_a_profile(engine, strength):
    parent = PreferenceProfile(user_id="all", **strength)
    ann = PreferenceProfile(user_id="ann", preferences=["Be brief."], parent="all")
    llm = AmuletLLM(engine=engine, profiles=InMemoryProfileStore([parent, ann]))
    return llm.for_user("ann").complete(QUESTION)


ENTRY_POINTS = {
    "constructor": lambda engine, it: llm_of(engine, **it).complete(QUESTION),
    "complete": lambda engine, it: llm_of(engine).complete(QUESTION, **it),
    "chat": lambda engine, it: llm_of(engine).chat(CHAT, **it),
    "stream_complete": lambda engine, it: list(llm_of(engine).stream_complete(QUESTION, **it))[-1],
    "stream_chat": lambda engine, it: list(llm_of(engine).stream_chat(CHAT, **it))[-1],
    "chat_with_tools": lambda engine, it: llm_of(engine).chat_with_tools(
        [FunctionTool.from_defaults(depth)], user_msg=QUESTION, **it
    ),
    "predict": lambda engine, it: llm_of(engine).predict(
        PromptTemplate("{question}"), question=QUESTION, **it
    ),
    "structured": lambda engine, it: llm_of(engine, steer_strings=True).chat(
        CHAT, response_format={"type": "json_object"}, **it
    ),
    "scope": in_a_scope,
    "query engine": by_a_query_engine,
    "parent": of_a_profile,
}


def check(engine, response, expected):
    """The one request asks for this strength, and the response tells of it."""
    scale, bound, _ = expected
    (request,) = engine.requests
    mixed = request.weights
    if request.alternatives:
        mixed = request.alternatives[-1].string_weights or request.alternatives[-1].weights
    assert mixed == pytest.approx((1.0 - scale, scale))
    assert request.max_kl == bound
    assert request.reference_weights == (None if bound is None else (0.0, 1.0))
    if hasattr(response, "raw"):
        applied = response.raw["amulet"]
        assert (applied["guidance_scale"], applied["max_kl"], applied["preset"]) == expected
        assert "brief" not in str(applied)


@pytest.mark.parametrize(("strength", "expected"), STRENGTHS, ids=str)
@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_every_entry_point_passes_the_strength_to_the_engine(entry_point, strength, expected):
    engine = Roomy()
    check(engine, ENTRY_POINTS[entry_point](engine, strength), expected)


@pytest.mark.parametrize(("strength", "expected"), STRENGTHS, ids=str)
async def test_also_on_an_event_loop(strength, expected):
    prompt = PromptTemplate("{question}")
    for ask in (
        lambda llm: llm.acomplete(QUESTION, **strength),
        lambda llm: llm.achat(CHAT, **strength),
        lambda llm: llm.apredict(prompt, question=QUESTION, **strength),
    ):
        engine = Roomy()
        check(engine, await ask(llm_of(engine)), expected)
    engine = Roomy()
    with preference_scope(**strength):
        opening = llm_of(engine).astream_chat(CHAT)
    check(engine, [response async for response in await opening][-1], expected)


def test_structured_predictions_take_a_strength():
    engine = Roomy(['{"word": "sea"}'])
    llm = llm_of(engine, steer_strings=True)
    prompt = PromptTemplate("{question}")
    found = llm.structured_predict(
        Word, prompt, llm_kwargs={"guidance_scale": 3.0, "max_kl": None}, question=QUESTION
    )
    assert found == Word(word="sea")
    assert engine.requests[0].max_kl is None
    assert engine.requests[0].alternatives[-1].string_weights == (-2.0, 3.0)


@pytest.mark.parametrize(
    ("strength", "remedy"),
    [
        ({"max_kl": -1}, "None for no bound"),
        ({"max_kl": float("nan")}, "None for no bound"),
        ({"guidance_scale": True}, "give a finite number"),
        ({"preset": "bold"}, "'gentle'"),
        ({"guidance_scale": 2, "preset": "strong"}, "in one way"),
        ({"guidance_scale": 2, "method": "pref"}, "Leave one of them out"),
    ],
    ids=str,
)
def test_what_is_no_strength_is_refused_at_the_call(strength, remedy):
    engine = Roomy()
    llm = llm_of(engine)
    for ask, argument in [
        (llm.complete, QUESTION),
        (llm.stream_complete, QUESTION),
        (llm.acomplete, QUESTION),
        (llm.stream_chat, CHAT),
        (llm.astream_chat, CHAT),
    ]:
        with pytest.raises(InvalidParamsError, match=remedy):
            ask(argument, **strength)
    assert engine.requests == []


def test_the_last_response_reports_what_the_bound_held_back(tiny_engine):
    llm = small_llm(tiny_engine, preference="Be brief.", guidance_scale=4.0, max_kl=0.05)
    *others, last = llm.stream_complete(QUESTION)
    assert not any(response.raw and "amulet" in response.raw for response in others)
    applied = last.raw["amulet"]
    assert 0 < applied["bounded_tokens"] <= len(others) + 1
    assert 1.0 < applied["mean_guidance_scale"] < 4.0
    free = llm.complete(QUESTION, max_kl=None).raw["amulet"]
    assert "bounded_tokens" not in free


def test_serialised_forms_distinguish_strengths_and_bounds():
    def digest(*scopes):
        if not scopes:
            return llm.to_dict()["speaks_for"]
        with preference_scope(**scopes[0]):
            return digest(*scopes[1:])

    llm = llm_of(ScriptedEngine())
    strengths = [strength for strength, _ in STRENGTHS]
    digests = [digest(), *(digest(strength) for strength in strengths)]
    assert len(set(digests)) == len(digests)
    assert digest(STRENGTHS[1][0]) == digests[2]
    forms = [llm_of(ScriptedEngine(), **strength).to_json() for strength in strengths]
    assert len(set(forms)) == len(forms)
    for strength in strengths:
        form = AmuletLLM(preference="Be brief.", **strength).to_dict()
        back = AmuletLLM.from_dict(form)
        assert {name: getattr(back, name) for name in strength} == strength
