"""A strength and its bound reach the engine by every road, and are told with the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.globals import set_llm_cache
from langchain_core.messages import AIMessageChunk
from langchain_core.runnables import ConfigurableField
from langchain_core.tools import tool

from amulet_integrations import (
    AmuletParams,
    InMemoryProfileStore,
    PreferenceProfile,
    preference_scope,
)
from amulet_integrations.decoding.strength import PRESETS
from amulet_integrations.engine import GenerationRequest, LocalEngine
from amulet_integrations.errors import InvalidParamsError
from amulet_integrations.langchain import ChatAmulet, PreferenceMiddleware
from tests.support.scripted import ScriptedEngine
from tests.unit.langchain.agents.support import AgentEngine

pytestmark = pytest.mark.usefixtures("shared_parents")

QUESTION = "What is the sea?"
SCALE, BOUND = PRESETS["default"]
PAPER = PRESETS["paper"].guidance_scale
GENTLE = AmuletParams(iterations=2)
SAID: list[tuple[dict[str, Any], tuple[float, float | None, str | None]]] = [
    ({"guidance_scale": 2.75}, (2.75, BOUND, None)),
    ({"guidance_scale": 2.75, "max_kl": None}, (2.75, None, None)),
    ({"params": GENTLE, "max_kl": 0.3}, (GENTLE.guidance_scale, 0.3, None)),
    ({"preset": "paper"}, (PAPER, None, "paper")),
    ({"max_kl": 0.05}, (SCALE, 0.05, None)),
    ({"max_kl": None}, (SCALE, None, None)),
]


@dataclass
class Context:
    user_id: str


@tool
def depth(sea: str) -> str:
    """Looks up how deep a sea is."""
    return f"The {sea} is 5,000 m deep."


def make(engine: Any, **said: Any) -> ChatAmulet:
    return ChatAmulet(engine=engine, preference="Be brief.", **said)


def with_fields(engine: Any, said: dict[str, Any]) -> Any:
    fields = {name: ConfigurableField(id=f"my_{name}") for name in said}
    configurable = {f"my_{name}": value for name, value in said.items()}
    llm = make(engine).configurable_fields(**fields)
    return llm.with_config(configurable=configurable).invoke(QUESTION)


def in_a_scope(engine: Any, said: dict[str, Any]) -> Any:
    with preference_scope(**said):
        return make(engine).invoke(QUESTION)


def of_a_profile(engine: Any, said: dict[str, Any]) -> Any:
    parent = PreferenceProfile(user_id="all", **said)
    ann = PreferenceProfile(user_id="ann", preferences=["Be brief."], parent="all")
    store = InMemoryProfileStore([parent, ann])
    return ChatAmulet(engine=engine, profiles=store).invoke(QUESTION, user_id="ann")


def agent_of(said: dict[str, Any], llm: Any) -> Any:
    ann = PreferenceProfile(user_id="ann", preferences=["Be brief."], **said)
    middleware = [PreferenceMiddleware(InMemoryProfileStore([ann]), tools=False)]
    return create_agent(llm, [depth], middleware=middleware, context_schema=Context)


def by_an_agent(engine: Any, said: dict[str, Any], llm: Any = None, **how: Any) -> Any:
    agent = agent_of(said, llm or ChatAmulet(engine=engine))
    state = agent.invoke({"messages": [("user", QUESTION)]}, context=Context("ann"), **how)
    return state["messages"][-1]


ROADS: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "constructor": lambda engine, said: make(engine, **said).invoke(QUESTION),
    "call": lambda engine, said: make(engine).invoke(QUESTION, **said),
    "bind": lambda engine, said: make(engine).bind(**said).invoke(QUESTION),
    "bind_tools": lambda engine, said: make(engine).bind_tools([depth], **said).invoke(QUESTION),
    "with_structured_output": lambda engine, said: (
        make(engine, steer_strings=True)
        .with_structured_output(method="json_mode", include_raw=True, **said)
        .invoke(QUESTION)["raw"]
    ),
    "config": lambda engine, said: make(engine).invoke(QUESTION, {"configurable": said}),
    "with_config": lambda engine, said: (
        make(engine).with_config(configurable=said).invoke(QUESTION)
    ),
    "configurable_fields": with_fields,
    "scope": in_a_scope,
    "parent": of_a_profile,
    "agent": by_an_agent,
    "agent's config": lambda engine, said: by_an_agent(engine, {}, config={"configurable": said}),
    "agent's model": lambda engine, said: by_an_agent(
        engine, {}, ChatAmulet(engine=engine, **said)
    ),
    "agent's bound model": lambda engine, said: by_an_agent(
        engine, {}, ChatAmulet(engine=engine).bind(**said)
    ),
    "agent's configured model": lambda engine, said: by_an_agent(
        engine, {}, ChatAmulet(engine=engine).with_config(configurable=said)
    ),
    "stream": lambda engine, said: list(make(engine).stream(QUESTION, **said))[-1],
}

CONFIGS = {"config", "with_config", "agent's config", "agent's configured model"}


def check(engine: ScriptedEngine, message: Any, expected: tuple[Any, ...]) -> None:
    """The one request asks for this strength, and the message tells of it."""
    scale, bound, _ = expected
    (request,) = engine.requests
    mixed = mixture(request)
    assert mixed == pytest.approx((1.0 - scale, scale))
    assert request.max_kl == bound
    assert request.reference_weights == (None if bound is None else (0.0, 1.0))
    told = message.response_metadata["amulet"]
    assert (told["guidance_scale"], told["max_kl"], told["preset"]) == expected
    assert "brief" not in str(told)


def mixture(request: GenerationRequest) -> Any:
    """The weights of text, also beside tools and inside JSON."""
    if not request.alternatives:
        return request.weights
    return request.alternatives[-1].string_weights or request.alternatives[-1].weights


@pytest.mark.parametrize(("said", "expected"), SAID, ids=str)
@pytest.mark.parametrize("road", ROADS)
def test_every_road_leads_to_the_engine(
    road: str, said: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    if "params" in said and road in CONFIGS:
        pytest.skip("a config says a strength by its scale or its name")
    engine = AgentEngine()
    check(engine, ROADS[road](engine, said), expected)


@pytest.mark.parametrize(("said", "expected"), SAID, ids=str)
async def test_also_on_an_event_loop(said: dict[str, Any], expected: tuple[Any, ...]) -> None:
    config: Any = {"configurable": said}
    asks = [
        lambda llm: llm.ainvoke(QUESTION, **said),
        lambda llm: llm.bind(**said).ainvoke(QUESTION),
    ]
    if "params" not in said:
        asks.append(lambda llm: llm.ainvoke(QUESTION, config))
    for ask in asks:
        engine = AgentEngine()
        check(engine, await ask(make(engine)), expected)
    engine = AgentEngine()
    with preference_scope(**said):
        stream = make(engine).astream(QUESTION)
    check(engine, [chunk async for chunk in stream][-1], expected)


def test_the_call_goes_before_the_config_the_scope_the_profile_and_the_constructor() -> None:
    engine = AgentEngine()
    ann = PreferenceProfile(user_id="ann", preferences=["Be brief."], preset="strong", max_kl=0.4)
    store = InMemoryProfileStore([ann])
    llm = ChatAmulet(engine=engine, profiles=store, user_id="ann", guidance_scale=1.1, max_kl=0.5)
    config: Any = {"configurable": {"guidance_scale": 1.3, "max_kl": None}}

    def told(**call: Any) -> Any:
        amulet = llm.invoke(QUESTION, **call).response_metadata["amulet"]
        return amulet["guidance_scale"], amulet["max_kl"]

    assert told() == (PRESETS["strong"].guidance_scale, 0.4)
    with preference_scope(guidance_scale=1.2):
        assert told() == (1.2, 0.4)
        assert told(config=config) == (1.3, None)
        assert told(config=config, guidance_scale=1.4, max_kl=0.1) == (1.4, 0.1)
    # Nobody's strength is left where the call asks for another method.
    assert told(config=config, method="pref") == (1.0, None)


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ({"max_kl": -1}, "None for no bound"),
        ({"max_kl": float("nan")}, "None for no bound"),
        ({"guidance_scale": True}, "give a finite number"),
        ({"preset": "bold"}, "'gentle'"),
        ({"guidance_scale": 2, "preset": "strong"}, "in one way"),
        ({"guidance_scale": 21}, "guidance_scale=21"),
        ({"guidance_scale": 2, "method": "pref"}, "Leave one of them out"),
    ],
    ids=str,
)
def test_what_is_no_strength_is_refused_at_the_call(said: dict[str, Any], remedy: str) -> None:
    engine = AgentEngine()
    llm = make(engine)
    for ask in (llm.invoke, llm.stream, llm.ainvoke, llm.astream, llm.batch):
        if "guidance_scale=21" in remedy and ask in (llm.ainvoke, llm.astream):
            continue  # the profile may say more of it, and it is read on a thread
        with pytest.raises(InvalidParamsError, match=remedy):
            ask([QUESTION] if ask == llm.batch else QUESTION, **said)
    if "method" not in said:
        with pytest.raises(InvalidParamsError, match=remedy):
            llm.invoke(QUESTION, {"configurable": said})
    assert engine.requests == []


def test_what_the_bound_held_back_is_told_with_the_last_chunk(tiny_engine: LocalEngine) -> None:
    llm = make(tiny_engine, guidance_scale=4.0, max_kl=0.05, max_tokens=8)
    *others, last = llm.stream(QUESTION)
    assert not any("amulet" in chunk.response_metadata for chunk in others)
    assert isinstance(last, AIMessageChunk)
    told = last.response_metadata["amulet"]
    assert 0 < told["bounded_tokens"] <= 8
    assert 1.0 < told["mean_guidance_scale"] < 4.0
    free = llm.invoke(QUESTION, max_kl=None).response_metadata["amulet"]
    assert free["max_kl"] is None
    assert "bounded_tokens" not in free


@pytest.fixture
def cache() -> Iterator[None]:
    set_llm_cache(InMemoryCache())
    yield
    set_llm_cache(None)


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("roads", [("call", "config", "scope"), ("constructor",), ("parent",)])
def test_two_strengths_are_never_served_each_others_answers(roads: tuple[str, ...]) -> None:
    told = [strength for strength, _ in SAID if "params" not in strength]
    strengths = [{"guidance_scale": 3.5}, *told]
    engine = AgentEngine()
    for road in roads * 2:
        for strength in strengths:
            ROADS[road](engine, strength)
    assert len(engine.requests) == len(strengths)


@pytest.mark.parametrize("tools", [[], [depth]], ids=["plain", "tools"])
@pytest.mark.parametrize("pinned", [False, True])
def test_a_config_of_another_user_says_nothing_of_an_agents_answer(
    tools: list[Any], pinned: bool
) -> None:
    engine = AgentEngine()
    users = [PreferenceProfile(user_id=name, preferences=["Be brief."]) for name in ("ann", "bob")]
    base = ChatAmulet(engine=engine, profiles=InMemoryProfileStore(users))
    bob: Any = base.for_user("bob") if pinned else base.bind(user_id="bob")
    llm = bob.with_config(configurable={"user_id": "ann", "guidance_scale": 4.0, "max_kl": 0.9})
    agent = create_agent(llm, tools, middleware=[PreferenceMiddleware(tools=False)])
    told = agent.invoke({"messages": [("user", QUESTION)]})["messages"][-1].response_metadata
    assert told["amulet"]["user_id"] == "bob"
    assert (told["amulet"]["guidance_scale"], told["amulet"]["max_kl"]) == (SCALE, BOUND)


def test_what_is_bound_stays_bound_where_tools_or_a_form_are() -> None:
    engine = AgentEngine()
    bound = make(engine).bind(guidance_scale=2.75, max_kl=0.4)
    bound.bind_tools([depth]).invoke(QUESTION)
    bound.with_structured_output(method="json_mode", include_raw=True).invoke(QUESTION)
    bound.with_config(configurable={"max_kl": 0.4}).bind_tools([depth]).invoke(QUESTION)
    assert [request.max_kl for request in engine.requests] == [0.4] * 3


def test_an_agents_bound_method_stays_beside_tools() -> None:
    engine = AgentEngine()
    llm = ChatAmulet(engine=engine).bind(method="pref")
    message = by_an_agent(engine, {"preset": "strong"}, llm)
    assert message.response_metadata["amulet"]["guidance_scale"] == 1.0
