"""Agents whose runs say what they are about, for preferences that have a `when`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import wrap_model_call
from langgraph.store.memory import InMemoryStore

from amulet_integrations import (
    InMemoryProfileStore,
    Preference,
    PreferenceProfile,
    preference_scope,
)
from amulet_integrations.errors import InvalidProfileError, PreferenceSelectionError
from amulet_integrations.langchain import ChatAmulet, LangGraphProfileStore, PreferenceMiddleware
from tests.unit.langchain.agents.support import AgentEngine

pytestmark = pytest.mark.usefixtures("shared_parents")

QUESTION: dict[str, Any] = {"messages": [("user", "What is the sea?")]}
HEALTH = {"topic": "health"}
GERMAN = {"locale": "de"}
PREFERENCES = [
    Preference(text="Be gentle.", when=HEALTH),
    Preference(text="Answer in German.", when=GERMAN),
]


@dataclass
class Context:
    user_id: str | None = None
    preference_context: dict[str, str] | None = None
    about: dict[str, str] = field(default_factory=dict)


@pytest.fixture
def engine() -> AgentEngine:
    return AgentEngine()


@pytest.fixture
def store() -> InMemoryProfileStore:
    people = ("ann", "bob")
    return InMemoryProfileStore(
        PreferenceProfile(user_id=user_id, preferences=PREFERENCES) for user_id in people
    )


def run(engine: AgentEngine, middleware: Any, *, llm: Any = None, **how: Any) -> list[str]:
    """The preferences that the one model call of a run followed."""
    engine.requests.clear()
    middleware = middleware if isinstance(middleware, list) else [middleware]
    agent = create_agent(
        llm or ChatAmulet(engine=engine),
        [],
        middleware=middleware,
        context_schema=Context,
        store=how.pop("graph_store", None),
    )
    agent.invoke(QUESTION, **how)
    (prompt,) = engine.preferences()
    return [it.text for it in PREFERENCES if it.text in prompt]


def test_the_runtime_context_says_what_a_run_is_about(engine: Any, store: Any) -> None:
    ours = PreferenceMiddleware(store)
    assert run(engine, ours, context=Context("ann")) == []
    assert run(engine, ours, context=Context("ann", HEALTH)) == ["Be gentle."]
    assert run(engine, ours, context=Context("ann", {**HEALTH, **GERMAN})) == [
        "Be gentle.",
        "Answer in German.",
    ]


def test_it_may_do_so_in_its_own_way(engine: Any, store: Any) -> None:
    for rule in ("about", lambda context: context.about):
        ours = PreferenceMiddleware(store, preference_context=rule)
        assert run(engine, ours, context=Context("ann", GERMAN, HEALTH)) == ["Be gentle."]


def test_config_context_and_scope_are_put_together(engine: Any, store: Any) -> None:
    ours = PreferenceMiddleware(store)
    config = {"configurable": {"preference_context": GERMAN}}
    everything = ["Be gentle.", "Answer in German."]
    assert run(engine, ours, context=Context("ann", HEALTH), config=config) == everything
    with preference_scope(preference_context=HEALTH):
        assert run(engine, ours, context=Context("ann"), config=config) == everything
    with preference_scope(user_id="ann", preference_context=HEALTH):
        assert run(engine, ours, config=config) == everything


def test_the_config_goes_before_the_context_and_both_before_the_scope(
    engine: Any, store: Any
) -> None:
    ours = PreferenceMiddleware(store)
    config = {"configurable": {"preference_context": {"topic": "sport"}}}
    assert run(engine, ours, context=Context("ann", HEALTH), config=config) == []
    with preference_scope(preference_context=HEALTH):
        assert run(engine, ours, context=Context("ann", {"topic": "sport"})) == []
        assert run(engine, ours, context=Context("ann")) == ["Be gentle."]


def test_settings_and_bindings_go_before_all(engine: Any, store: Any) -> None:
    ours = PreferenceMiddleware(store)
    sport = {"topic": "sport"}

    @wrap_model_call
    def about_sport(request: Any, handler: Any) -> Any:
        settings = {**request.model_settings, "preference_context": sport}
        return handler(request.override(model_settings=settings))

    assert run(engine, [about_sport, ours], context=Context("ann", HEALTH)) == []
    bound = ChatAmulet(engine=engine).bind(preference_context=sport)
    assert run(engine, ours, llm=bound, context=Context("ann", HEALTH)) == []
    bound = ChatAmulet(engine=engine).bind(preference_context=GERMAN)
    assert run(engine, ours, llm=bound, context=Context("ann", HEALTH)) == [
        "Be gentle.",
        "Answer in German.",
    ]
    configured = ChatAmulet(engine=engine).with_config(configurable={"preference_context": GERMAN})
    assert run(engine, ours, llm=configured, context=Context("ann")) == ["Answer in German."]


def test_what_is_said_of_another_users_run_says_nothing_of_this_one(
    engine: Any, store: Any
) -> None:
    ours = PreferenceMiddleware(store)
    for_bob = {"configurable": {"user_id": "bob"}}
    assert run(engine, ours, context=Context("ann", HEALTH), config=for_bob) == []
    assert run(engine, ours, context=Context("bob", HEALTH), config=for_bob) == ["Be gentle."]
    pinned = ChatAmulet(engine=engine, profiles=store).for_user("ann")
    assert run(engine, ours, llm=pinned, context=Context("bob", HEALTH)) == []


def test_fallbacks_that_are_bound_to_other_circumstances_are_refused(
    engine: Any, store: Any
) -> None:
    llm = ChatAmulet(engine=engine)
    mixed = llm.bind(preference_context=HEALTH).with_fallbacks([llm])
    with pytest.raises(PreferenceSelectionError, match="different values of preference_context"):
        run(engine, PreferenceMiddleware(store), llm=mixed, context=Context("ann"))
    alike = llm.bind(preference_context=HEALTH)
    both = alike.with_fallbacks([alike])
    assert run(engine, PreferenceMiddleware(store), llm=both, context=Context("ann")) == [
        "Be gentle."
    ]


def test_it_counts_without_a_store_of_the_middlewares(engine: Any, store: Any) -> None:
    ours = PreferenceMiddleware()
    llm = ChatAmulet(engine=engine, profiles=store)
    assert run(engine, ours, llm=llm, context=Context("ann", HEALTH)) == ["Be gentle."]
    graph_store = InMemoryStore()
    LangGraphProfileStore(graph_store).save(store.get("ann").model_copy(update={"version": 0}))
    assert run(engine, ours, context=Context("ann", HEALTH), graph_store=graph_store) == [
        "Be gentle."
    ]


def test_parents_hold_in_agents_too(engine: Any) -> None:
    everyone = PreferenceProfile(user_id="everyone", preferences=PREFERENCES)
    ann = PreferenceProfile(user_id="ann", parent="everyone")
    ours = PreferenceMiddleware(InMemoryProfileStore([everyone, ann]))
    assert run(engine, ours, context=Context("ann", HEALTH)) == ["Be gentle."]


def test_what_is_no_context_is_refused(engine: Any, store: Any) -> None:
    ours = PreferenceMiddleware(store)
    for wrong in ("health", {"topic": 7}):
        with pytest.raises(InvalidProfileError, match="preference_context"):
            run(engine, ours, context=Context("ann", wrong))  # type: ignore[arg-type]


@pytest.mark.parametrize("rule", ["", 7, None])
def test_a_rule_that_is_none_is_refused(rule: Any) -> None:
    with pytest.raises(PreferenceSelectionError, match="preference_context="):
        PreferenceMiddleware(preference_context=rule)
