"""The response cache of the whole process: who is served what was written before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.globals import set_llm_cache
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool

from amulet_integrations import (
    AmuletParams,
    InMemoryProfileStore,
    Preference,
    PreferenceProfile,
    preference_scope,
)
from amulet_integrations.langchain import ChatAmulet, PreferenceMiddleware
from tests.unit.langchain.agents.support import AgentEngine

QUESTION = "What is the sea?"
SCHEMA = {"title": "Sea", "type": "object", "properties": {"name": {"type": "string"}}}
PROMPT = ChatPromptTemplate.from_messages([("human", "{q}")])


@tool
def depth(sea: str) -> str:
    """Looks up how deep a sea is."""
    return f"The {sea} is 5,000 m deep."


@pytest.fixture
def cache() -> Iterator[InMemoryCache]:
    cache = InMemoryCache()
    set_llm_cache(cache)
    yield cache
    set_llm_cache(None)


@pytest.fixture
def engine() -> AgentEngine:
    """Says how often it was asked, so that two answers are never the same."""
    engine = AgentEngine()
    engine._answer = lambda _: f'{{"name": "{len(engine.requests)}"}}'
    return engine


@pytest.fixture
def llm(cache: InMemoryCache, engine: AgentEngine, store: InMemoryProfileStore) -> ChatAmulet:
    return ChatAmulet(engine=engine, profiles=store)


def _config(user_id: str) -> Any:
    return {"configurable": {"user_id": user_id}}


def _in_scope(runnable: Any, user_id: str) -> Any:
    with preference_scope(user_id=user_id):
        return runnable.invoke(QUESTION)


async def _ainvoke(runnable: Any, asked: Any, config: Any) -> Any:
    return await runnable.ainvoke(asked, config)


async def _abatch(runnable: Any, asked: Any, config: Any) -> Any:
    return await runnable.abatch([asked], [config])


ASKING: dict[str, Callable[[ChatAmulet, str], Any]] = {
    "call": lambda llm, user: llm.invoke(QUESTION, user_id=user),
    "config": lambda llm, user: llm.invoke(QUESTION, _config(user)),
    "scope": _in_scope,
    "for_user": lambda llm, user: llm.for_user(user).invoke(QUESTION),
    "chain": lambda llm, user: (PROMPT | llm | StrOutputParser()).invoke(
        {"q": QUESTION}, _config(user)
    ),
    "batch": lambda llm, user: llm.batch([QUESTION], [_config(user)]),
    "ainvoke": lambda llm, user: asyncio.run(_ainvoke(llm, QUESTION, _config(user))),
    "abatch": lambda llm, user: asyncio.run(_abatch(llm, QUESTION, _config(user))),
    "tools": lambda llm, user: llm.bind_tools([depth]).invoke(QUESTION, _config(user)),
    "structured": lambda llm, user: llm.with_structured_output(SCHEMA).invoke(
        QUESTION, _config(user)
    ),
    "agent": lambda llm, user: create_agent(llm, [depth]).invoke(
        {"messages": [("user", QUESTION)]}, _config(user)
    ),
    "middleware": lambda llm, user: create_agent(
        llm, [depth], middleware=[PreferenceMiddleware(llm.profiles)]
    ).invoke({"messages": [("user", QUESTION)]}, _config(user)),
}
every_asking = pytest.mark.parametrize("ask", ASKING.values(), ids=ASKING)


@every_asking
def test_users_are_served_what_was_written_for_them_alone(
    llm: ChatAmulet, engine: AgentEngine, ask: Any
) -> None:
    for user_id in ("ann", "bob", "nobody"):
        ask(llm, user_id)
    assert len(engine.requests) == 3
    for user_id in ("bob", "ann", "nobody"):
        ask(llm, user_id)
    assert len(engine.requests) == 3  # each had been written before


@every_asking
def test_a_changed_profile_misses_what_was_written_before(
    llm: ChatAmulet, engine: AgentEngine, store: InMemoryProfileStore, ask: Any
) -> None:
    ask(llm, "ann")
    store.save(PreferenceProfile(user_id="ann", preferences=[Preference(text="Be brief.")]))
    ask(llm, "ann")
    store.save(
        PreferenceProfile(user_id="ann", preferences=[Preference(text="Be brief.", weight=0.5)])
    )
    ask(llm, "ann")
    store.delete("ann")
    ask(llm, "ann")
    assert len(engine.requests) == 4
    tasted = ["Be brief." in prompt for prompt in engine.preferences()]
    assert tasted == [False, True, True, False]


@pytest.mark.parametrize(
    "change",
    [
        {"method": "pref"},
        {"method": "base"},
        {"method": "linear_alignment"},
        {"params": AmuletParams(iterations=2)},
        {"guidance_scale": 1.5},
        {"preset": "strong"},
        {"max_kl": 0.05},
        {"max_kl": None},
    ],
    ids=str,
)
def test_another_method_or_strength_is_another_answer(
    llm: ChatAmulet, engine: AgentEngine, change: dict[str, Any]
) -> None:
    for call in ({}, change, {}, change):
        llm.invoke(QUESTION, user_id="ann", **call)
    assert len(engine.requests) == 2


def test_a_profiles_own_method_and_strength_count(
    llm: ChatAmulet, engine: AgentEngine, store: InMemoryProfileStore
) -> None:
    said: list[dict[str, Any]] = [{"params": AmuletParams(iterations=2)}, {"max_kl": None}]
    for changes in ({}, {"method": "pref"}, *said):
        profile = PreferenceProfile(user_id="ann", preferences=["Be brief."], **changes)
        store.save(profile)
        llm.invoke(QUESTION, user_id="ann")
    assert len(engine.requests) == 4


def test_two_ways_to_structure_an_answer_are_two_answers(
    llm: ChatAmulet, engine: AgentEngine
) -> None:
    steered: list[dict[str, Any]] = [
        {"method": "json_schema"},
        {"method": "json_mode"},
        {"method": "json_schema", "steer_strings": True},
    ]
    for _ in range(2):
        for way in steered:
            llm.with_structured_output(SCHEMA, **way).invoke(QUESTION, _config("ann"))
    assert len(engine.requests) == 3


def test_tools_and_their_choice_are_part_of_the_question(
    llm: ChatAmulet, engine: AgentEngine
) -> None:
    other = {"name": "depth", "description": "Else.", "parameters": {}}
    bound = [
        llm.bind_tools([depth]),
        llm.bind_tools([other]),
        llm.bind_tools([depth], tool_choice="none"),
    ]
    for _ in range(2):
        for one in bound:
            one.invoke(QUESTION)
    assert len(engine.requests) == 3


def test_what_is_kept_and_its_keys_hold_no_preference(
    llm: ChatAmulet, cache: InMemoryCache
) -> None:
    llm.bind_tools([depth], preference="my quiet allergy").invoke(QUESTION)
    llm.with_structured_output(SCHEMA).invoke(QUESTION, _config("ann"))
    kept = repr(cache._cache)
    assert "allergy" not in kept
    assert "verse" not in kept


def test_a_stream_is_neither_kept_nor_served_to_another(
    llm: ChatAmulet, engine: AgentEngine
) -> None:
    texts = [
        "".join(chunk.text for chunk in llm.stream(QUESTION, user_id=user_id))
        for user_id in ("ann", "bob", "ann")
    ]
    assert texts[0] != texts[1] != texts[2]
    assert llm.invoke(QUESTION, user_id="bob").text not in texts[::2]
