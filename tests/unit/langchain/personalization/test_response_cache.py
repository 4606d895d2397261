"""LangChain's response cache: no user is served what was written for another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.messages import BaseMessage

from amulet_integrations import (
    AmuletParams,
    InMemoryProfileStore,
    Preference,
    PreferenceProfile,
    preference_scope,
)
from amulet_integrations.langchain import ChatAmulet
from tests.support.tiny import tiny_engine as make_tiny_engine

QUESTION = "What is the sea?"


class CountingCache(InMemoryCache):
    """Tells hits from misses."""

    hits = 0

    def lookup(self, prompt: str, llm_string: str) -> Any:
        found = super().lookup(prompt, llm_string)
        self.hits += found is not None
        return found


Hit = Callable[[Callable[[ChatAmulet], BaseMessage]], bool]


@pytest.fixture
def cache() -> CountingCache:
    return CountingCache()


@pytest.fixture
def llm(chat: Callable[..., ChatAmulet], cache: CountingCache) -> ChatAmulet:
    return chat(cache=cache)


@pytest.fixture
def hits(llm: ChatAmulet, cache: CountingCache) -> Hit:
    """Whether asking comes out of the cache."""

    def ask(way: Callable[[ChatAmulet], BaseMessage]) -> bool:
        before = cache.hits
        way(llm)
        return cache.hits > before

    return ask


def _in_scope(user_id: str) -> Callable[[ChatAmulet], BaseMessage]:
    def ask(llm: ChatAmulet) -> BaseMessage:
        with preference_scope(user_id=user_id):
            return llm.invoke(QUESTION)

    return ask


WAYS: dict[str, Callable[[str], Callable[[ChatAmulet], BaseMessage]]] = {
    "call": lambda user: lambda llm: llm.invoke(QUESTION, user_id=user),
    "config": lambda user: lambda llm: llm.invoke(QUESTION, {"configurable": {"user_id": user}}),
    "scope": _in_scope,
    "for_user": lambda user: lambda llm: llm.for_user(user).invoke(QUESTION),
    "bind": lambda user: lambda llm: llm.bind(user_id=user).invoke(QUESTION),
    "batch": lambda user: lambda llm: llm.batch([QUESTION], user_id=user)[0],
}


@pytest.mark.parametrize("way", WAYS)
def test_each_user_has_an_entry_of_their_own(hits: Hit, llm: ChatAmulet, way: str) -> None:
    named = WAYS[way]
    assert not hits(named("ann"))
    assert not hits(named("bob"))
    assert hits(named("ann"))
    assert named("ann")(llm).text != named("bob")(llm).text
    assert not hits(lambda llm: llm.invoke(QUESTION))


@pytest.mark.parametrize("way", WAYS)
async def test_entries_hold_for_async_calls_too(llm: ChatAmulet, way: str) -> None:
    cached = WAYS[way]("ann")(llm)
    assert (await llm.ainvoke(QUESTION, user_id="bob")).text != cached.text


async def test_an_async_call_gets_what_its_own_user_was_told(
    llm: ChatAmulet, cache: CountingCache
) -> None:
    first = await llm.ainvoke(QUESTION, user_id="ann")
    again = await llm.ainvoke(QUESTION, user_id="ann")
    assert again.text == first.text
    assert cache.hits == 1


CHANGES: list[dict[str, Any]] = [
    {"method": "pref"},
    {"method": "linear_alignment"},
    {"params": AmuletParams(iterations=2)},
    {"guidance_scale": 1.5},
    {"preset": "strong"},
    {"max_kl": 0.05},
    {"max_kl": None},
    {"temperature": 0.5, "seed": 1},
    {"max_tokens": 3},
    {"stop": ("x",)},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_what_shapes_the_answer_at_the_call_makes_another_entry(
    hits: Hit, llm: ChatAmulet, change: dict[str, Any]
) -> None:
    llm.invoke(QUESTION, user_id="ann")
    assert not hits(lambda llm: llm.invoke(QUESTION, user_id="ann", **change))


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_what_shapes_the_answer_in_the_constructor_makes_another_entry(
    hits: Hit, llm: ChatAmulet, change: dict[str, Any]
) -> None:
    llm.invoke(QUESTION, user_id="ann")
    changed = llm.model_copy(update=change)
    assert not hits(lambda _: changed.invoke(QUESTION, user_id="ann"))


def test_a_preference_text_is_part_of_the_key(hits: Hit) -> None:
    assert not hits(lambda llm: llm.invoke(QUESTION, preference="Be brief."))
    assert not hits(lambda llm: llm.invoke(QUESTION, preference="Be long."))
    assert hits(lambda llm: llm.invoke(QUESTION, preference="Be brief."))


def test_a_changed_profile_is_another_entry(hits: Hit, store: InMemoryProfileStore) -> None:
    assert not hits(WAYS["call"]("ann"))
    store.save(PreferenceProfile(user_id="ann", preferences=[Preference(text="Be brief.")]))
    assert not hits(WAYS["call"]("ann"))


def test_two_models_do_not_share_an_entry(hits: Hit, llm: ChatAmulet) -> None:
    llm.invoke(QUESTION)
    # Of the same name and with other weights.
    with make_tiny_engine(seed=5) as engine:
        other = llm.model_copy(update={"engine": engine})
        assert not hits(lambda _: other.invoke(QUESTION))


def test_no_preference_text_is_kept_in_the_keys(llm: ChatAmulet, cache: CountingCache) -> None:
    llm.invoke(QUESTION, preference="Speak of my allergy.")
    assert "allergy" not in repr(list(cache._cache))
