"""What a profile's parents add reaches the model, and tools change the user's own profile alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
from langchain.agents import create_agent

from amulet_integrations import (
    InMemoryProfileStore,
    Preference,
    PreferenceProfile,
    preference_scope,
)
from amulet_integrations.errors import InvalidProfileError
from amulet_integrations.langchain import ChatAmulet, PreferenceMiddleware
from amulet_integrations.profiles.stores.access import update_profile
from tests.unit.langchain.agents.support import AgentEngine

pytestmark = pytest.mark.usefixtures("shared_parents")

QUESTION = {"messages": [("user", "Hello")]}
TEAM = PreferenceProfile(
    user_id="team",
    preferences=[
        Preference(text="Be kind.", name="tone"),
        Preference(text="Go on and on.", name="length"),
    ],
)
ANN = PreferenceProfile(
    user_id="ann", preferences=[Preference(text="Be brief.", name="length")], parent="team"
)

both_ways = pytest.mark.parametrize(
    "invoke",
    [
        lambda agent, *args, **run: agent.invoke(*args, **run),
        lambda agent, *args, **run: asyncio.run(agent.ainvoke(*args, **run)),
    ],
    ids=["sync", "async"],
)


@both_ways
def test_the_model_follows_the_parents_too(invoke: Callable[..., Any]) -> None:
    store, engine = InMemoryProfileStore([TEAM, ANN]), AgentEngine()
    agent: Any = create_agent(ChatAmulet(engine=engine), middleware=[PreferenceMiddleware(store)])
    invoke(agent, QUESTION, context={"user_id": "ann"})
    (prompts,) = engine.preferences()
    assert "Be kind." in prompts
    assert "Be brief." in prompts
    assert "Go on and on." not in prompts


@both_ways
def test_a_circle_of_parents_fails_the_run(invoke: Callable[..., Any]) -> None:
    class Careless(InMemoryProfileStore):
        def get(self, user_id: str) -> PreferenceProfile | None:
            return PreferenceProfile(
                user_id=user_id, parent={"ann": "team", "team": "ann"}[user_id]
            )

    agent: Any = create_agent(
        ChatAmulet(engine=AgentEngine()), middleware=[PreferenceMiddleware(Careless())]
    )
    with pytest.raises(InvalidProfileError, match="circle"):
        invoke(agent, QUESTION, context={"user_id": "ann"})


def test_a_change_leaves_the_parents_where_they_are() -> None:
    store = InMemoryProfileStore([TEAM, ANN])
    changed = update_profile(store, "ann", lambda it: it.model_copy(update={"preferences": ()}))
    assert changed.parent == "team"
    assert store.get("team") == store.get("team")


@both_ways
def test_a_given_profile_has_its_parents_from_the_middlewares_store(
    invoke: Callable[..., Any],
) -> None:
    store, engine = InMemoryProfileStore([TEAM]), AgentEngine()
    new = ANN.model_copy(update={"user_id": "new"})
    plain = ChatAmulet(engine=engine)
    for llm, scope in [
        (plain.bind(profile=new), nullcontext()),
        (ChatAmulet(engine=engine, profile=new), nullcontext()),
        (plain, preference_scope(profile=new)),
    ]:
        engine.requests.clear()
        agent: Any = create_agent(llm, middleware=[PreferenceMiddleware(store)])
        with scope:
            invoke(agent, QUESTION)
        (prompts,) = engine.preferences()
        assert "Be kind." in prompts
        assert "Be brief." in prompts
