"""Agents follow the preferences of the user whose run it is, by every way of running them."""

from __future__ import annotations

import asyncio
import json
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import wrap_model_call
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.runnables import ConfigurableField
from langchain_core.tools import tool
from langgraph.store.memory import InMemoryStore
from langsmith import Client
from langsmith.run_helpers import tracing_context
from pydantic import BaseModel

from amulet_integrations import InMemoryProfileStore, PreferenceProfile, preference_scope
from amulet_integrations.errors import (
    CorruptProfileError,
    InvalidProfileError,
    PreferenceSelectionError,
    ProfileStoreError,
    UnknownArgumentError,
)
from amulet_integrations.langchain import (
    ChatAmulet,
    LangGraphProfileStore,
    PreferenceMiddleware,
    preference_tools,
)
from tests.unit.langchain.agents.support import AgentEngine, call
from tests.unit.langchain.conftest import TASTES

QUESTION: dict[str, Any] = {"messages": [("user", "What is the sea?")]}


@dataclass
class Context:
    user_id: str | None = None
    account: str | None = None


@tool
def depth(sea: str) -> str:
    """Looks up how deep a sea is."""
    return f"The {sea} is 5,000 m deep."


def asks_once(prompt: str) -> str:
    """Calls a tool in the first turn, and answers when its result is there."""
    return "Deep." if "tool_response" in prompt else call("depth", sea="Aegean")


@pytest.fixture
def engine() -> AgentEngine:
    return AgentEngine(asks_once)


@pytest.fixture
def agent_of(engine: AgentEngine) -> Callable[..., Any]:
    def make(*middleware: Any, store: Any = None, llm: Any = None, **fields: Any) -> Any:
        llm = llm or ChatAmulet(engine=engine, **fields)
        return create_agent(
            llm, [depth], middleware=middleware, context_schema=Context, store=store
        )

    return make


def followed(engine: AgentEngine) -> list[list[str]]:
    """The users whose tastes each request had, by the texts in its contexts."""
    return [
        [user_id for user_id, text in TASTES.items() if text in prompt]
        for prompt in engine.preferences()
    ]


async def _astream(agent: Any, **run: Any) -> Any:
    return [part async for part in agent.astream(QUESTION, stream_mode="values", **run)][-1]


async def _astream_messages(agent: Any, **run: Any) -> Any:
    _ = [part async for part in agent.astream(QUESTION, stream_mode="messages", **run)]


RUNS: dict[str, Callable[..., Any]] = {
    "invoke": lambda agent, **run: agent.invoke(QUESTION, **run),
    "stream": lambda agent, **run: list(agent.stream(QUESTION, stream_mode="messages", **run)),
    "batch": lambda agent, config=None, **run: agent.batch([QUESTION], config, **run),
    "ainvoke": lambda agent, **run: asyncio.run(agent.ainvoke(QUESTION, **run)),
    "astream": lambda agent, **run: asyncio.run(_astream(agent, **run)),
    "astream messages": lambda agent, **run: asyncio.run(_astream_messages(agent, **run)),
}

every_run = pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)


@every_run
def test_every_model_call_follows_the_contexts_user(
    agent_of: Any, engine: AgentEngine, store: InMemoryProfileStore, run: Any
) -> None:
    run(agent_of(PreferenceMiddleware(store)), context=Context(user_id="ann"))
    assert followed(engine) == [["ann"], ["ann"]]


@every_run
def test_the_configs_user_goes_before_the_contexts(
    agent_of: Any, engine: AgentEngine, store: InMemoryProfileStore, run: Any
) -> None:
    config = {"configurable": {"user_id": "bob"}}
    run(agent_of(PreferenceMiddleware(store)), config=config, context=Context(user_id="ann"))
    assert followed(engine) == [["bob"], ["bob"]]


@every_run
def test_a_pinned_user_goes_before_both(
    agent_of: Any, engine: AgentEngine, store: InMemoryProfileStore, run: Any
) -> None:
    llm = ChatAmulet(engine=engine, profiles=store).for_user("ann")
    agent = agent_of(PreferenceMiddleware(store), llm=llm)
    config = {"configurable": {"user_id": "bob"}}
    run(agent, config=config, context=Context(user_id="bob"))
    assert followed(engine) == [["ann"], ["ann"]]


@every_run
def test_a_model_that_follows_nobody_is_offered_no_tools_of_the_runs_user(
    agent_of: Any, engine: AgentEngine, store: InMemoryProfileStore, run: Any
) -> None:
    llm = ChatAmulet(engine=engine, profiles=store).plain()
    run(agent_of(PreferenceMiddleware(store, tools=True), llm=llm), context=Context(user_id="ann"))
    assert [len(request.contexts) for request in engine.requests] == [1] * len(engine.requests)
    assert not any("remember_preference" in prompt for prompt in engine.prompts())


@every_run
def test_without_anybody_answers_are_plain(
    agent_of: Any, engine: AgentEngine, store: InMemoryProfileStore, run: Any
) -> None:
    for context in (None, Context()):
        run(agent_of(PreferenceMiddleware(store)), context=context)
    assert [len(request.contexts) for request in engine.requests] == [1] * 4


@every_run
def test_the_graphs_own_store_holds_profiles_too(
    agent_of: Any, engine: AgentEngine, run: Any
) -> None:
    store = InMemoryStore()
    for user_id, text in TASTES.items():
        profile = PreferenceProfile(user_id=user_id, preferences=[text])
        LangGraphProfileStore(store).save(profile)
    run(agent_of(PreferenceMiddleware(), store=store), context=Context(user_id="bob"))
    assert followed(engine) == [["bob"], ["bob"]]


@every_run
def test_the_models_own_profiles_are_the_last_resort(
    agent_of: Any, engine: AgentEngine, store: InMemoryProfileStore, run: Any
) -> None:
    agent = agent_of(PreferenceMiddleware(), profiles=store)
    run(agent, context=Context(user_id="bob"))
    run(agent, context=Context(user_id="bob"), config={"configurable": {"user_id": "ann"}})
    assert followed(engine) == [["bob"], ["bob"], ["ann"], ["ann"]]


def test_the_given_store_goes_before_the_graphs_and_the_graphs_before_the_models(
    agent_of: Any, engine: AgentEngine, store: InMemoryProfileStore
) -> None:
    graphs = InMemoryStore()
    LangGraphProfileStore(graphs).save(PreferenceProfile(user_id="ann", preferences=["Hum."]))
    context = Context(user_id="ann")
    agent_of(PreferenceMiddleware(store), store=graphs).invoke(QUESTION, context=context)
    assert followed(engine) == [["ann"], ["ann"]]
    engine.requests.clear()
    agent_of(PreferenceMiddleware(), store=graphs, profiles=store).invoke(QUESTION, context=context)
    assert followed(engine) == [[], []]
    assert all("Hum." in prompt for prompt in engine.preferences())


def test_the_scope_comes_after_the_context_and_before_the_constructor(
    agent_of: Any, engine: AgentEngine, store: InMemoryProfileStore
) -> None:
    agent = agent_of(PreferenceMiddleware(store), preference="Be brief.")
    agent.invoke(QUESTION)
    assert all("Be brief." in prompt for prompt in engine.preferences())
    with preference_scope(user_id="ann"):
        agent.invoke(QUESTION)
        agent.invoke(QUESTION, context=Context(user_id="bob"))
    with preference_scope(preference="Be kind."):
        agent.invoke(QUESTION)
    assert followed(engine) == [[], [], ["ann"], ["ann"], ["bob"], ["bob"], [], []]
    assert all("Be kind." in prompt for prompt in engine.preferences()[-2:])


def test_a_user_without_a_profile_is_plain_and_nobody_else(
    agent_of: Any, engine: AgentEngine, store: InMemoryProfileStore
) -> None:
    agent = agent_of(PreferenceMiddleware(store), preference="Be brief.", profiles=store)
    with preference_scope(user_id="ann"):
        agent.invoke(QUESTION, context=Context(user_id="zoe"))
    assert [len(request.contexts) for request in engine.requests] == [1, 1]


@pytest.mark.parametrize(
    ("named", "context"),
    [
        ("user_id", {"user_id": "ann"}),
        ("account", Context(account="ann", user_id="bob")),
        (lambda context: context.account.partition("/")[2], Context(account="x/ann")),
    ],
)
def test_the_context_may_name_the_user_in_its_own_way(
    engine: AgentEngine, store: InMemoryProfileStore, named: Any, context: Any
) -> None:
    middleware = PreferenceMiddleware(store, user_id=named)
    agent = create_agent(ChatAmulet(engine=engine), [depth], middleware=[middleware])
    agent.invoke(QUESTION, context=context)
    assert followed(engine) == [["ann"], ["ann"]]


class Account(BaseModel):
    user_id: str


def test_the_context_may_be_a_pydantic_model(
    engine: AgentEngine, store: InMemoryProfileStore
) -> None:
    middleware = PreferenceMiddleware(store)
    llm = ChatAmulet(engine=engine)
    agent = create_agent(llm, [depth], middleware=[middleware], context_schema=Account)
    agent.invoke(QUESTION, context=Account(user_id="ann"))
    assert followed(engine) == [["ann"], ["ann"]]


@pytest.mark.parametrize("user_id", [5, "", ["ann"]])
def test_a_user_that_is_none_is_refused(
    agent_of: Any, store: InMemoryProfileStore, user_id: Any
) -> None:
    with pytest.raises(InvalidProfileError, match="user_id"):
        agent_of(PreferenceMiddleware(store)).invoke(QUESTION, context=Context(user_id=user_id))


@pytest.mark.parametrize("rule", [None, "", 5])
def test_a_rule_that_is_none_is_refused(rule: Any) -> None:
    with pytest.raises(PreferenceSelectionError, match="user_id"):
        PreferenceMiddleware(user_id=rule)


def test_profiles_that_are_no_store_are_refused_at_once() -> None:
    with pytest.raises(ProfileStoreError, match="not a profile store"):
        PreferenceMiddleware([])  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [PreferenceMiddleware, preference_tools])
def test_a_langgraph_store_for_profiles_is_refused_and_the_two_ways_are_named(make: Any) -> None:
    with pytest.raises(ProfileStoreError, match="LangGraph store") as caught:
        make(InMemoryStore())
    for named in (
        "(InMemoryStore)",
        "LangGraphProfileStore(store)",
        "create_agent(..., store=store)",
    ):
        assert named in str(caught.value)


@pytest.mark.parametrize("unknown", ["profile", "store"])
def test_an_unknown_argument_is_refused_with_the_one_that_was_meant(
    store: InMemoryProfileStore, unknown: str
) -> None:
    given: dict[str, Any] = {unknown: store}
    expected = f"PreferenceMiddleware does not take '{unknown}' \\(did you mean 'profiles'\\?\\)"
    with pytest.raises(UnknownArgumentError, match=expected):
        PreferenceMiddleware(**given)
    with pytest.raises(UnknownArgumentError, match="It takes: preference_context, profile_limits"):
        PreferenceMiddleware(zzz=3)  # type: ignore[call-arg]


def test_a_user_who_cannot_be_looked_up_anywhere_is_an_error(agent_of: Any) -> None:
    agent = agent_of(PreferenceMiddleware())
    with pytest.raises(PreferenceSelectionError, match="profiles="):
        agent.invoke(QUESTION, context=Context(user_id="ann"))


# Whose preferences the call itself names.


def test_settings_of_another_middleware_are_the_calls_own(
    agent_of: Any, engine: AgentEngine, store: InMemoryProfileStore
) -> None:
    @wrap_model_call
    def chooses(request: Any, handler: Any) -> Any:
        return handler(request.override(model_settings={"user_id": "bob", "max_tokens": 9}))

    agent = agent_of(chooses, PreferenceMiddleware(store), profiles=store)
    agent.invoke(QUESTION, context=Context(user_id="ann"))
    assert followed(engine) == [["bob"], ["bob"]]


def test_other_settings_are_kept(
    agent_of: Any, engine: AgentEngine, store: InMemoryProfileStore
) -> None:
    @wrap_model_call
    def shortens(request: Any, handler: Any) -> Any:
        return handler(request.override(model_settings={"max_tokens": 9}))

    agent = agent_of(shortens, PreferenceMiddleware(store))
    agent.invoke(QUESTION, context=Context(user_id="ann"))
    assert followed(engine) == [["ann"], ["ann"]]
    assert {request.sampling.max_new_tokens for request in engine.requests} == {9}


@pytest.mark.parametrize("tools", [[], [depth]], ids=["no tools", "tools"])
def test_a_bound_user_is_not_lost(
    engine: AgentEngine, store: InMemoryProfileStore, tools: Any
) -> None:
    bound: Any = ChatAmulet(engine=engine, profiles=store).bind(user_id="bob")
    agent = create_agent(bound, tools, middleware=[PreferenceMiddleware(store)])
    agent.invoke(QUESTION, context={"user_id": "ann"})
    assert set(map(tuple, followed(engine))) == {("bob",)}


with_and_without_tools = pytest.mark.parametrize("tools", [[], [depth]], ids=["no tools", "tools"])

BOUND_TO_BOB: dict[str, Callable[[Any], Any]] = {
    "pinned": lambda llm: llm.for_user("bob").with_fallbacks([llm.for_user("bob")]),
    "argument": lambda llm: llm.bind(user_id="bob").with_fallbacks([llm.bind(user_id="bob")]),
    "argument and pinned": lambda llm: llm.bind(user_id="bob").with_fallbacks(
        [llm.for_user("bob")]
    ),
    "around fallbacks": lambda llm: llm.with_fallbacks([llm]).bind(user_id="bob"),
    "argument over pinned": lambda llm: llm.for_user("ann").bind(user_id="bob"),
    "outer over inner": lambda llm: (
        llm.bind(user_id="ann").with_fallbacks([llm]).bind(user_id="bob")
    ),
    "config": lambda llm: llm.with_config(configurable={"user_id": "bob"}),
    "config around fallbacks": lambda llm: llm.with_fallbacks([llm]).with_config(
        configurable={"user_id": "bob"}
    ),
    "argument over config": lambda llm: llm.bind(user_id="bob").with_config(
        configurable={"user_id": "ann"}
    ),
    "config of configurable fields": lambda llm: llm.configurable_fields(
        temperature=ConfigurableField(id="heat")
    ).with_config(configurable={"user_id": "bob"}),
}


@with_and_without_tools
@pytest.mark.parametrize("named", ["context", "config", "nobody"])
@pytest.mark.parametrize("given", [True, False], ids=["store", "model's store"])
@pytest.mark.parametrize("bind", BOUND_TO_BOB.values(), ids=BOUND_TO_BOB)
def test_a_user_bound_to_a_composed_model_goes_before_the_runs(
    *,
    engine: AgentEngine,
    store: InMemoryProfileStore,
    bind: Any,
    given: bool,
    named: str,
    tools: Any,
) -> None:
    llm = bind(ChatAmulet(engine=engine, profiles=store))
    agent = create_agent(llm, tools, middleware=[PreferenceMiddleware(store if given else None)])
    run: dict[str, Any] = {
        "context": {"context": {"user_id": "ann"}},
        "config": {"config": {"configurable": {"user_id": "ann"}}},
        "nobody": {},
    }[named]
    agent.invoke(QUESTION, **run)
    assert set(map(tuple, followed(engine))) == {("bob",)}


@with_and_without_tools
@pytest.mark.parametrize(
    "compose",
    [
        lambda llm: llm.with_fallbacks([llm.for_user("bob")]),
        lambda llm: llm.for_user("bob").with_fallbacks([llm]),
        lambda llm: llm.bind(user_id="bob").with_fallbacks([llm]),
        lambda llm: llm.bind(user_id="bob").with_fallbacks([llm.bind(user_id="ann")]),
        lambda llm: llm.bind(preference="Hum.").with_fallbacks([llm]),
        lambda llm: llm.with_config(configurable={"user_id": "bob"}).with_fallbacks([llm]),
    ],
)
def test_models_of_one_agent_that_follow_different_users_are_refused(
    engine: AgentEngine, store: InMemoryProfileStore, compose: Any, tools: Any
) -> None:
    llm = compose(ChatAmulet(engine=engine, profiles=store))
    for profiles in (store, None):
        agent = create_agent(llm, tools, middleware=[PreferenceMiddleware(profiles)])
        with pytest.raises(PreferenceSelectionError, match="different users"):
            agent.invoke(QUESTION, context={"user_id": "ann"})
    assert engine.requests == []


@with_and_without_tools
@pytest.mark.parametrize(
    "settings", [{"user_id": "bob"}, {"preference": TASTES["bob"]}], ids=["user", "preference"]
)
@pytest.mark.parametrize(
    "compose",
    [
        lambda llm: llm.with_fallbacks([llm.for_user("ann")]),
        lambda llm: llm.bind(user_id="ann").with_fallbacks([llm]),
        lambda llm: llm.bind(user_id="ann"),
    ],
)
def test_the_calls_own_settings_go_before_whatever_was_bound(
    engine: AgentEngine, store: InMemoryProfileStore, compose: Any, settings: Any, tools: Any
) -> None:
    @wrap_model_call
    def chooses(request: Any, handler: Any) -> Any:
        return handler(request.override(model_settings=settings))

    llm = compose(ChatAmulet(engine=engine, profiles=store))
    agent = create_agent(llm, tools, middleware=[chooses, PreferenceMiddleware(store)])
    agent.invoke(QUESTION, context={"user_id": "ann"})
    assert set(map(tuple, followed(engine))) == {("bob",)}


def test_a_bound_config_needs_no_store_of_the_models(
    engine: AgentEngine, store: InMemoryProfileStore
) -> None:
    llm: Any = ChatAmulet(engine=engine).with_config(configurable={"user_id": "bob"})
    agent = create_agent(llm, [depth], middleware=[PreferenceMiddleware(store)])
    agent.invoke(QUESTION, context={"user_id": "ann"})
    assert followed(engine) == [["bob"], ["bob"]]


# Models.


def test_models_inside_of_others_are_found(
    engine: AgentEngine, store: InMemoryProfileStore
) -> None:
    llm = ChatAmulet(engine=engine)
    kinds: list[Any] = [
        llm.with_fallbacks([ChatAmulet(engine=engine)]),
        llm.with_config(tags=["x"]),
        llm.configurable_fields(temperature=ConfigurableField(id="heat")),
        llm.configurable_alternatives(ConfigurableField(id="which"), other=llm),
    ]
    for kind in kinds:
        engine.requests.clear()
        agent = create_agent(kind, [depth], middleware=[PreferenceMiddleware(store)])
        agent.invoke(QUESTION, context={"user_id": "ann"})
        assert followed(engine) == [["ann"], ["ann"]], type(kind)


def test_other_models_are_an_error_of_ours_that_names_them(
    engine: AgentEngine, store: InMemoryProfileStore
) -> None:
    fake = FakeListChatModel(responses=["x"])
    llm = ChatAmulet(engine=engine)
    kinds: list[Any] = [
        fake,
        fake.with_config(tags=["x"]),
        llm.with_fallbacks([fake]),
        llm.configurable_alternatives(
            ConfigurableField(id="which"), default_key="real", fake=fake
        ).with_config(configurable={"which": "fake"}),
    ]
    for kind in kinds:
        agent = create_agent(kind, middleware=[PreferenceMiddleware(store)])
        with pytest.raises(PreferenceSelectionError, match=r"FakeListChatModel.*ChatAmulet"):
            agent.invoke(QUESTION, context={"user_id": "ann"})
    assert engine.requests == []


class Depth(BaseModel):
    metres: int


@pytest.mark.parametrize(
    ("strategy", "answer"),
    [(ProviderStrategy, '{"metres": 5000}'), (ToolStrategy, call("Depth", metres=5000))],
)
def test_structured_answers_of_agents_follow_the_user_too(
    store: InMemoryProfileStore, strategy: Any, answer: str
) -> None:
    engine = AgentEngine(lambda _: answer)
    middleware = PreferenceMiddleware(store, tools=False)
    agent = create_agent(
        ChatAmulet(engine=engine), response_format=strategy(Depth), middleware=[middleware]
    )
    answered = agent.invoke(QUESTION, context={"user_id": "ann"})
    assert answered["structured_response"] == Depth(metres=5000)
    assert followed(engine) == [["ann"]]


# Many at once.


def test_runs_of_two_users_in_threads_never_mix(
    agent_of: Any, engine: AgentEngine, store: InMemoryProfileStore
) -> None:
    agent = agent_of(PreferenceMiddleware(store))

    def run(number: int) -> None:
        user_id = ("ann", "bob")[number % 2]
        question = {"messages": [("user", f"I am {user_id}. What is the sea?")]}
        agent.invoke(question, context=Context(user_id=user_id))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(run, range(24)))
    _check_each_has_their_own(engine, requests=48)


async def test_runs_of_two_users_on_a_loop_never_mix(
    agent_of: Any, engine: AgentEngine, store: InMemoryProfileStore
) -> None:
    agent = agent_of(PreferenceMiddleware(store))

    async def run(number: int) -> None:
        user_id = ("ann", "bob")[number % 2]
        question = {"messages": [("user", f"I am {user_id}. What is the sea?")]}
        await agent.ainvoke(question, context=Context(user_id=user_id))

    await asyncio.gather(*map(run, range(24)))
    _check_each_has_their_own(engine, requests=48)


def _check_each_has_their_own(engine: AgentEngine, requests: int) -> None:
    asked = [
        [user_id for user_id in TASTES if f"I am {user_id}." in prompt]
        for prompt in engine.prompts()
    ]
    assert len(asked) == requests
    assert followed(engine) == asked


# Stores that fail.


class Broken(InMemoryProfileStore):
    def get(self, user_id: str) -> PreferenceProfile | None:
        raise RuntimeError("the cable is out")


class BrokenGraphStore(InMemoryStore):
    def get(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("the cable is out")

    async def aget(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("the cable is out")


class Confused(InMemoryProfileStore):
    def get(self, user_id: str) -> PreferenceProfile | None:
        return PreferenceProfile(user_id="bob", preferences=[TASTES["bob"]])


@every_run
@pytest.mark.parametrize(
    ("profiles", "store"),
    [(Broken(), None), (None, BrokenGraphStore()), (Confused(), None)],
    ids=["profiles", "graph", "confused"],
)
def test_a_store_that_fails_is_an_error_and_no_plain_answer(
    agent_of: Any, engine: AgentEngine, run: Any, profiles: Any, store: Any
) -> None:
    agent = agent_of(PreferenceMiddleware(profiles), store=store)
    with pytest.raises(ProfileStoreError):
        run(agent, context=Context(user_id="ann"))
    assert engine.requests == []


def test_a_corrupt_profile_is_an_error(agent_of: Any, engine: AgentEngine) -> None:
    graphs = InMemoryStore()
    graphs.put(("users", "ann", "preferences"), "profile", {"preferences": 5})
    with pytest.raises(CorruptProfileError, match="ann"):
        agent_of(PreferenceMiddleware(), store=graphs).invoke(
            QUESTION, context=Context(user_id="ann")
        )
    assert engine.requests == []


class Slow(InMemoryProfileStore):
    def get(self, user_id: str) -> PreferenceProfile | None:
        time.sleep(0.2)
        return super().get(user_id)


async def test_a_slow_store_leaves_the_event_loop_free(agent_of: Any, engine: AgentEngine) -> None:
    agent = agent_of(PreferenceMiddleware(Slow()))
    run = asyncio.create_task(agent.ainvoke(QUESTION, context=Context(user_id="ann")))
    beats = 0
    while not run.done():
        await asyncio.sleep(0.005)
        beats += 1
    await run
    assert beats > 12  # a loop that is held beats a few times
    assert len(engine.requests) == 2


async def test_the_graphs_store_is_asked_by_its_async_methods(
    agent_of: Any, engine: AgentEngine
) -> None:
    class OnlyAsync(InMemoryStore):
        def get(self, *_: Any, **__: Any) -> Any:
            raise AssertionError

        batch = get

    store = OnlyAsync()
    profile = PreferenceProfile(user_id="ann", preferences=[TASTES["ann"]])
    await LangGraphProfileStore(store).asave(profile)
    agent = agent_of(PreferenceMiddleware(), store=store)
    await agent.ainvoke(QUESTION, context=Context(user_id="ann"))
    assert followed(engine) == [["ann"], ["ann"]]


# Discretion.


class Traces(Client):
    """A LangSmith client that keeps what it would send, as the text it would send."""

    def __init__(self) -> None:
        super().__init__(api_key="x", auto_batch_tracing=False, info={})
        self.sent: list[str] = []

    def request_with_retries(self, *_: Any, request_kwargs: Any = None, **__: Any) -> Any:
        self.sent.append(str((request_kwargs or {}).get("data")))
        raise OSError


@pytest.mark.filterwarnings("ignore")
def test_state_messages_and_traces_hold_no_preference_text(
    agent_of: Any, engine: AgentEngine, store: InMemoryProfileStore
) -> None:
    @wrap_model_call
    def inner(request: Any, handler: Any) -> Any:
        seen.append(request)
        return handler(request)

    seen: list[Any] = []
    agent = agent_of(PreferenceMiddleware(store), inner)
    client = Traces()
    with tracing_context(enabled=True, client=client):
        answer = agent.invoke(QUESTION, context=Context(user_id="ann"))
    assert followed(engine) == [["ann"], ["ann"]]
    told = "".join(client.sent)
    assert "wrap_model_call" in told  # middleware and what it was given are traced
    assert "model_settings" in told
    for text in (told, repr(answer), json.dumps(answer, default=str), repr(seen)):
        assert TASTES["ann"] not in text


def test_errors_hold_no_preference_text(agent_of: Any, store: InMemoryProfileStore) -> None:
    def fail(_: str) -> str:
        raise RuntimeError("out of memory")

    agent = agent_of(PreferenceMiddleware(store), llm=ChatAmulet(engine=AgentEngine(fail)))
    with pytest.raises(RuntimeError) as caught:
        agent.invoke(QUESTION, context=Context(user_id="ann"))
    assert TASTES["ann"] not in "".join(traceback.format_exception(caught.value))
