"""What calls are about, told by every way in and at every level."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.load import dumpd, load
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from amulet_integrations import (
    InMemoryProfileStore,
    Preference,
    PreferenceProfile,
    preference_scope,
)
from amulet_integrations.errors import InvalidProfileError
from amulet_integrations.langchain import ChatAmulet
from tests.support.scripted import ScriptedEngine
from tests.unit.langchain.personalization.test_user_resolution import ALAZY, EAGER, LAZY

QUESTION = "What is the sea?"
HEALTH = {"topic": "health"}
ANN = PreferenceProfile(
    user_id="ann",
    preferences=[
        Preference(text="Be gentle.", name="gentle", when=HEALTH),
        Preference(text="Answer in German.", name="german", when={"locale": "de"}),
    ],
)


@pytest.fixture
def llm() -> ChatAmulet:
    store = InMemoryProfileStore([ANN])
    return ChatAmulet(engine=ScriptedEngine(), profiles=store, user_id="ann")


def followed(message: Any) -> list[str]:
    return [it["name"] for it in message.response_metadata["amulet"]["preferences"]]


@pytest.mark.parametrize("way", EAGER)
def test_every_way_in_takes_it(llm: ChatAmulet, way: str) -> None:
    ask = EAGER[way]
    assert followed(ask(llm)) == []
    assert followed(ask(llm, preference_context=HEALTH)) == ["gentle"]
    with preference_scope(preference_context={"locale": "de"}):
        assert followed(ask(llm, preference_context=HEALTH)) == ["gentle", "german"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("way", LAZY)
def test_it_is_settled_when_the_method_is_called(llm: ChatAmulet, way: str) -> None:
    with preference_scope(preference_context=HEALTH):
        read = LAZY[way](llm)
    with preference_scope(preference_context={"locale": "de"}):
        assert followed(read()) == ["gentle"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("way", ALAZY)
async def test_also_on_an_event_loop(llm: ChatAmulet, way: str) -> None:
    with preference_scope(preference_context=HEALTH):
        waiting = ALAZY[way](llm)
    with preference_scope(preference_context={"locale": "de"}):
        assert followed(await waiting) == ["gentle"]


def test_configs_tell_it_to_chains_and_to_single_calls(llm: ChatAmulet) -> None:
    config: Any = {"configurable": {"preference_context": HEALTH}}
    assert followed(llm.invoke(QUESTION, config)) == ["gentle"]
    chain = ChatPromptTemplate.from_messages([("user", "{question}")]) | llm
    assert followed(chain.invoke({"question": QUESTION}, config)) == ["gentle"]
    assert followed((chain | (lambda message: message)).invoke({"question": "?"}, config)) == [
        "gentle"
    ]
    with_it, without = llm.batch([QUESTION, QUESTION], [config, {}])
    assert (followed(with_it), followed(without)) == (["gentle"], [])
    assert isinstance((llm | StrOutputParser()).invoke(QUESTION, config), str)


def test_bindings_and_the_constructor_tell_it(llm: ChatAmulet) -> None:
    assert followed(llm.bind(preference_context=HEALTH).invoke(QUESTION)) == ["gentle"]
    own = ChatAmulet(
        engine=llm.engine,
        profiles=llm.profiles,
        user_id="ann",
        preference_context={"locale": "de"},
    )
    assert followed(own.invoke(QUESTION)) == ["german"]
    assert followed(own.for_user("ann").invoke(QUESTION, preference_context=HEALTH)) == [
        "gentle",
        "german",
    ]


@pytest.mark.filterwarnings("ignore")
def test_it_survives_being_written_and_loaded() -> None:
    llm = ChatAmulet(preference_context=HEALTH)
    loaded = load(
        dumpd(llm), allowed_objects=[ChatAmulet], valid_namespaces=["amulet_integrations"]
    )
    assert loaded.preference_context == HEALTH


def test_the_response_cache_tells_circumstances_apart_by_what_they_change(
    llm: ChatAmulet,
) -> None:
    llm = llm.model_copy(update={"cache": InMemoryCache()})
    engine: Any = llm.engine
    for context, asked in [(None, 1), (HEALTH, 2), ({"topic": "sport"}, 2), (HEALTH, 2)]:
        llm.invoke(QUESTION, preference_context=context)
        assert len(engine.requests) == asked


@pytest.mark.parametrize("wrong", ["health", 7, ["topic"], {"topic": 7}, {"topic": "a\x00"}])
def test_what_is_no_context_is_refused_before_anything(llm: ChatAmulet, wrong: Any) -> None:
    with pytest.raises(InvalidProfileError, match="preference_context"):
        llm.invoke(QUESTION, preference_context=wrong)
    with pytest.raises(InvalidProfileError, match="preference_context"):
        llm.invoke(QUESTION, {"configurable": {"preference_context": wrong}})
    with pytest.raises(InvalidProfileError, match="preference_context"):
        ChatAmulet(preference_context=wrong)
    engine: Any = llm.engine
    assert not engine.requests


def test_the_constructors_context_is_every_users(llm: ChatAmulet) -> None:
    store = InMemoryProfileStore([ANN, ANN.model_copy(update={"user_id": "bob"})])
    own = ChatAmulet(engine=llm.engine, profiles=store, user_id="ann", preference_context=HEALTH)
    assert followed(own.invoke(QUESTION, user_id="bob")) == ["gentle"]
    assert followed(own.for_user("bob").invoke(QUESTION)) == ["gentle"]


def test_none_is_nothing_told(llm: ChatAmulet) -> None:
    assert ChatAmulet(preference_context=None).preference_context == {}
    assert followed(llm.invoke(QUESTION, preference_context=None)) == []


def test_a_config_whose_user_is_somebody_elses_affair_tells_it_all_the_same() -> None:
    llm = ChatAmulet(engine=ScriptedEngine(), profile=ANN)
    config: Any = {"configurable": {"user_id": "a framework's", "preference_context": HEALTH}}
    assert followed(llm.invoke(QUESTION, config)) == ["gentle"]
