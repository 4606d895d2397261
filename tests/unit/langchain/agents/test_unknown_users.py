"""Users of an agent who are not found are reported: a missing profile, and misspelt names."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langgraph.store.memory import InMemoryStore

from amulet_integrations import InMemoryProfileStore, PreferenceProfile, SqlProfileStore
from amulet_integrations.errors import (
    UnknownArgumentError,
    UnknownKeyWarning,
    UnknownUserError,
    UnknownUserWarning,
)
from amulet_integrations.langchain import ChatAmulet, PreferenceMiddleware
from tests.support.scripted import ScriptedEngine

ANN = PreferenceProfile(user_id="ann", preferences=["Be brief."])
QUESTION: dict[str, Any] = {"messages": [("user", "Hi")]}


@dataclass(slots=True)
class Misspelt:
    """A runtime context."""

    userid: str = "ann"


def agent_of(
    profiles: Any = None, store: Any = None, *, rule: Any = "user_id", **settings: Any
) -> Callable[..., dict[str, Any]]:
    """Runs an agent, sync or async; returns the metadata of its answer."""
    llm = ChatAmulet(engine=ScriptedEngine(), **{"profiles": None, **settings})
    middleware = PreferenceMiddleware(profiles, user_id=rule)
    agent = create_agent(llm, [], middleware=[middleware], store=store)

    def run(way: str = "invoke", **options: Any) -> dict[str, Any]:
        if way == "invoke":
            result = agent.invoke(QUESTION, **options)
        elif way == "ainvoke":
            result = asyncio.run(agent.ainvoke(QUESTION, **options))
        else:
            *_, result = agent.stream(QUESTION, stream_mode="values", **options)
        return result["messages"][-1].response_metadata["amulet"]

    return run


def named(where: str) -> dict[str, Any]:
    user = {"user_id": "zed"}
    return {"context": user} if where == "context" else {"config": {"configurable": user}}


STORES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "given": lambda _: {"profiles": InMemoryProfileStore([ANN])},
    "graph's": lambda _: {"store": InMemoryStore()},
    "missing file": lambda folder: {"profiles": folder / "mis" / "typed.db"},
}


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream"])
@pytest.mark.parametrize("where", ["config", "context"])
@pytest.mark.parametrize("place", STORES)
def test_a_user_without_a_profile_is_reported_once(
    way: str, where: str, place: str, tmp_path: Path
) -> None:
    stores = STORES[place](tmp_path)
    run = agent_of(**stores)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", UnknownUserWarning)
        for _ in range(2):
            found = run(way, **named(where))
            assert (found["user_id"], found["profile_version"]) == ("zed", None)
            assert found["method"] == "base"
    (warning,) = [it for it in seen if it.category is UnknownUserWarning]
    assert "'zed'" in str(warning.message)
    with pytest.raises(UnknownUserError, match="'zed'"):
        agent_of(**stores, unknown_user="error")(way, **named(where))
    assert list(tmp_path.iterdir()) == []


def test_without_any_place_the_context_is_an_error_and_the_config_is_reported() -> None:
    run = agent_of()
    with pytest.raises(UnknownUserError, match="runtime context names user_id='zed'") as caught:
        run(**named("context"))
    for remedy in ("Pass profiles=", "create_agent(..., store=...)"):
        assert remedy in str(caught.value)
    assert "(call)" not in str(caught.value)
    with pytest.warns(UnknownUserWarning, match="'zed'"):
        assert run(**named("config"))["user_id"] is None


@pytest.mark.parametrize(
    ("context", "rule"),
    [
        ({"userid": "ann"}, "user_id"),
        ({"user": "ann"}, "user_id"),
        (Misspelt(), "user_id"),
        ({"customerId": "ann"}, "customer_id"),
    ],
    ids=str,
)
def test_a_misspelt_name_in_the_context_is_reported(context: Any, rule: str) -> None:
    store = InMemoryProfileStore([ANN])
    with pytest.warns(UnknownKeyWarning, match=rule):
        assert agent_of(store, rule=rule)(context=context)["user_id"] is None
    with pytest.raises(UnknownArgumentError, match=rule):
        agent_of(store, rule=rule, unknown_user="error")(context=context)


def test_whoever_is_found_and_what_others_name_is_not_reported(tmp_path: Path) -> None:
    with SqlProfileStore(tmp_path / "profiles.db") as store:
        store.save(ANN)
        run = agent_of(store, unknown_user="error")
        assert run(context={"user_id": "ann", "user": "zed"})["profile_version"] == 1
        assert (
            run(config={"configurable": {"user_id": "ann", "thread_id": "1"}})["user_id"] == "ann"
        )
        assert run(context={"user_id": None, "tenant_id": "a", "db": object()})["user_id"] is None
        assert run(context={"userid": "x"}, config={"configurable": {"user_id": "ann"}})["user_id"]


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream"])
@pytest.mark.parametrize("place", STORES)
def test_a_run_that_names_nobody_is_reported_once(way: str, place: str, tmp_path: Path) -> None:
    run = agent_of(**STORES[place](tmp_path))
    with pytest.warns(UnknownUserWarning, match="names no user"):
        found = run(way)
    assert (found["method"], found["user_id"]) == ("base", None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(way)


@pytest.mark.parametrize("model_profiles", [None, InMemoryProfileStore([ANN])])
@pytest.mark.parametrize(
    ("rule", "named"),
    [
        ("user_id", {"context": {"user_id": None}}),
        (lambda _: None, {"context": {"channel": "web"}}),
        ("user_id", {"config": {"configurable": {"user_id": None}}}),
    ],
)
def test_a_run_of_a_guest_is_not_reported(
    rule: Any, named: dict[str, Any], model_profiles: Any
) -> None:
    llm = ChatAmulet(engine=ScriptedEngine(), profiles=model_profiles, unknown_user="error")
    middleware = PreferenceMiddleware(InMemoryProfileStore([ANN]), user_id=rule)
    result = create_agent(llm, [], middleware=[middleware]).invoke(QUESTION, **named)
    assert result["messages"][-1].response_metadata["amulet"]["user_id"] is None
