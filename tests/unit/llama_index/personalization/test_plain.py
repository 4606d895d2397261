"""Models that follow nobody's preferences, for work that no user reads; of both frameworks."""

from __future__ import annotations

import asyncio
import pickle
from contextlib import nullcontext, suppress
from dataclasses import dataclass

import pytest
from langchain.agents import create_agent
from langchain_core.load import dumpd
from llama_index.core.chat_engine.condense_question import DEFAULT_TEMPLATE as CONDENSE_QUESTION
from llama_index.core.postprocessor import LLMRerank
from llama_index.core.prompts import PromptTemplate
from llama_index.core.prompts.default_prompts import DEFAULT_KEYWORD_EXTRACT_TEMPLATE
from llama_index.core.question_gen import LLMQuestionGenerator
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.core.selectors import LLMMultiSelector, LLMSingleSelector
from llama_index.core.tools import ToolMetadata

from amulet_integrations import Preference, PreferenceProfile, preference_scope
from amulet_integrations.langchain import ChatAmulet, PreferenceMiddleware
from amulet_integrations.llama_index import AmuletLLM
from amulet_integrations.profiles import open_profile_store
from tests.support.scripted import ScriptedEngine
from tests.unit.langchain.agents.support import AgentEngine
from tests.unit.llama_index.support import (
    ANN,
    BOB,
    QUESTION,
    TOKENS,
    chat_messages,
    engine_result,
    small_llm,
    store_of_two,
)

NAMED = {
    "nobody": {},
    "a text": {"preference": ANN},
    "a preference": {"preference": Preference(text=ANN)},
    "a profile": {"profile": PreferenceProfile(user_id="x", preferences=[ANN])},
    "a user": {"user_id": "ann"},
}
SCOPES = {"a text": {"preference": BOB}, "a user": {"user_id": "bob"}}


@pytest.fixture(scope="module")
def texts(tiny_engine):
    found = {name: engine_result(tiny_engine, text).text for name, text in TEXTS.items()}
    assert len(set(found.values())) == 3  # else nothing here could fail
    return found


TEXTS = {"nobody": None, "ann": ANN, "bob": BOB}


def chat(engine, **settings):
    return ChatAmulet(**{"engine": engine, "max_tokens": TOKENS, **settings})


def answer(llm, **call):
    if isinstance(llm, ChatAmulet):
        return llm.invoke(QUESTION, **call).text
    return llm.complete(QUESTION, **call).text


MAKERS = {"AmuletLLM": small_llm, "ChatAmulet": chat}
both = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


@both
@pytest.mark.parametrize("named", NAMED)
def test_a_plain_model_follows_neither_constructor_nor_scope(tiny_engine, texts, make, named):
    llm = make(tiny_engine, profiles=store_of_two(), **NAMED[named])
    plain = llm.plain()
    assert plain.engine is tiny_engine
    assert answer(plain) == texts["nobody"]
    for scope in SCOPES.values():
        with preference_scope(**scope):
            assert answer(plain) == texts["nobody"]
            assert answer(llm) == texts["bob"]
    assert answer(llm) == texts["nobody" if named == "nobody" else "ann"]


@both
@pytest.mark.parametrize("named", [name for name in NAMED if name != "nobody"])
def test_a_calls_own_arguments_count(tiny_engine, texts, make, named):
    plain = make(tiny_engine, profiles=store_of_two(), preference=BOB).plain()
    with preference_scope(user_id="bob"):
        assert answer(plain, **NAMED[named]) == texts["ann"]
    assert answer(plain) == texts["nobody"]


@both
def test_plain_and_for_user_undo_each_other(tiny_engine, texts, make):
    llm = make(tiny_engine, profiles=store_of_two())
    with preference_scope(user_id="bob"):
        assert answer(llm.for_user("ann").plain()) == texts["nobody"]
        assert answer(llm.plain().for_user("ann")) == texts["ann"]


@both
def test_copies_and_pickles_of_plain_models_stay_plain(tiny_engine, texts, make, tmp_path):
    place = f"sqlite:///{tmp_path}/profiles.db"
    with open_profile_store(place) as store:
        for profile in (store_of_two().get("ann"), store_of_two().get("bob")):
            store.save(profile.model_copy(update={"version": 0}))
    llm = make(tiny_engine, preference=ANN, profiles=place)
    for plain in (llm.plain(), llm.for_user("ann").plain()):
        pickled = pickle.loads(pickle.dumps(plain))  # noqa: S301 - made here
        pickled.engine = tiny_engine
        for twin in (pickled, plain.model_copy(), plain.model_copy(update={"top_k": 1})):
            with preference_scope(user_id="bob"):
                assert answer(twin) == texts["nobody"]
    ann = llm.for_user("ann")
    pickled = pickle.loads(pickle.dumps(ann))  # noqa: S301 - made here
    pickled.engine = tiny_engine
    with preference_scope(user_id="bob"):
        assert answer(pickled) == texts["ann"]


def test_the_serialised_form_of_a_plain_model_reveals_no_user(tiny_engine, texts):
    llm = small_llm(tiny_engine, profiles=store_of_two(), preference=ANN)
    back = AmuletLLM.from_dict(llm.plain().to_dict(), engine=tiny_engine)
    with preference_scope(preference=BOB):
        assert answer(back) == texts["nobody"]
    for form in (llm.plain().to_dict(), llm.for_user("ann").to_dict()):
        assert not {"preference", "preference_profile", "user_id"} & form.keys()
    dumped = dumpd(chat(tiny_engine, preference=ANN).plain())
    assert ANN not in str(dumped)


async def test_a_plain_model_is_plain_in_every_way(tiny_engine, texts):
    plain = small_llm(tiny_engine, profiles=store_of_two(), user_id="ann").plain()
    conversation = chat_messages(("user", QUESTION))
    with preference_scope(user_id="bob"):
        answers = [
            plain.chat(conversation).message.content,
            list(plain.stream_chat(conversation))[-1].message.content,
            (await plain.achat(conversation)).message.content,
            [it async for it in await plain.astream_chat(conversation)][-1].message.content,
            list(plain.stream_complete(QUESTION))[-1].text,
            (await plain.acomplete(QUESTION)).text,
            [it async for it in await plain.astream_complete(QUESTION)][-1].text,
            plain.predict(PromptTemplate(QUESTION)),
            await plain.apredict(PromptTemplate(QUESTION)),
            "".join(plain.stream(PromptTemplate(QUESTION))),
        ]
    assert answers == [texts["nobody"]] * 10
    assert plain.complete(QUESTION).raw["amulet"]["preferences"] == []


@pytest.mark.parametrize("config", [{"user_id": "ann"}, {"user_id": "ann", "thread_id": "1"}])
async def test_a_plain_chat_model_does_not_read_a_configs_user(tiny_engine, texts, config):
    llm = chat(tiny_engine, profiles=store_of_two())
    given = {"configurable": config}
    assert llm.invoke(QUESTION, given).text == texts["ann"]
    plain = llm.plain()
    assert plain.invoke(QUESTION, given).text == texts["nobody"]
    assert (await plain.ainvoke(QUESTION, given)).text == texts["nobody"]
    assert "".join(chunk.text for chunk in plain.stream(QUESTION, given)) == texts["nobody"]
    bound = plain.bind(temperature=0.0).with_config(configurable=config)
    assert bound.invoke(QUESTION).text == texts["nobody"]
    assert plain.batch([QUESTION], given)[0].text == texts["nobody"]


@dataclass
class Context:
    user_id: str | None = None


def test_an_agents_middleware_leaves_a_plain_model_plain():
    engine = AgentEngine()
    state = {"messages": [("user", QUESTION)]}
    for llm in (ChatAmulet(engine=engine), ChatAmulet(engine=engine).plain()):
        agent = create_agent(
            llm, [], middleware=[PreferenceMiddleware(store_of_two())], context_schema=Context
        )
        agent.invoke(state, context=Context("ann"), config={"configurable": {"user_id": "ann"}})
    followed, plain = engine.preferences()
    assert ANN in followed
    assert plain == ""


TOOLS = [
    ToolMetadata(name="sea", description="About seas."),
    ToolMetadata(name="hill", description="About hills."),
]
UNREAD = {
    "selector": lambda llm: LLMSingleSelector.from_defaults(llm=llm).select(TOOLS, QUESTION),
    "selector of several": lambda llm: LLMMultiSelector.from_defaults(llm=llm).select(
        TOOLS, QUESTION
    ),
    "asynchronous selector": lambda llm: asyncio.run(
        LLMSingleSelector.from_defaults(llm=llm).aselect(TOOLS, QUESTION)
    ),
    "sub-questions": lambda llm: LLMQuestionGenerator.from_defaults(llm=llm).generate(
        TOOLS, QueryBundle(QUESTION)
    ),
    "reranker": lambda llm: LLMRerank(llm=llm, choice_batch_size=2).postprocess_nodes(
        [NodeWithScore(node=TextNode(text="The sea."))], query_str=QUESTION
    ),
    "condensed question": lambda llm: llm.predict(
        PromptTemplate(CONDENSE_QUESTION), question="x", chat_history="y"
    ),
    "keywords": lambda llm: llm.predict(DEFAULT_KEYWORD_EXTRACT_TEMPLATE, text="x", max_keywords=2),
}


@pytest.mark.parametrize("way", UNREAD)
@pytest.mark.parametrize("named", ["scope", "constructor", "for_user"])
def test_a_choice_that_no_user_reads_is_plain(way, named):
    engine = ScriptedEngine(['[{"choice": 1, "reason": "x"}]'])
    llm = AmuletLLM(engine=engine, profiles=store_of_two())
    if named == "constructor":
        llm = AmuletLLM(engine=engine, preference=ANN, preset="paper")
    if named == "for_user":
        llm = llm.for_user("ann")
    with preference_scope(user_id="ann") if named == "scope" else nullcontext():
        with suppress(Exception):  # not every parser reads what the engine says
            UNREAD[way](llm)
        assert [len(request.contexts) for request in engine.requests] == [1]
        assert ANN not in engine.tokenizer.decode(engine.requests[0].contexts[0])
        llm.predict(PromptTemplate(QUESTION))
    assert any(ANN in engine.tokenizer.decode(ids) for ids in engine.requests[1].contexts)


def test_a_choice_follows_a_preference_that_its_call_names():
    engine = ScriptedEngine(["sea"])
    llm = AmuletLLM(engine=engine, profiles=store_of_two())
    asked = {"text": "x", "max_keywords": 2}
    llm.predict(DEFAULT_KEYWORD_EXTRACT_TEMPLATE, user_id="ann", **asked)
    llm.predict(DEFAULT_KEYWORD_EXTRACT_TEMPLATE, preference=ANN, **asked)
    for request in engine.requests:
        assert any(ANN in engine.tokenizer.decode(ids) for ids in request.contexts)
