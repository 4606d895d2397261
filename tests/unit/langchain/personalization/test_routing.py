"""Users reach the model through chains, graphs, agents and models that LangChain rebuilds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField, RunnableConfig, RunnableLambda
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import BaseModel

from amulet_integrations import InMemoryProfileStore, preference_scope
from amulet_integrations.langchain import ChatAmulet
from tests.unit.langchain.agents.support import AgentEngine, call
from tests.unit.langchain.conftest import TASTES

ASKED = {"question": "What is the sea?"}
QUESTION: dict[str, Any] = {"messages": [("user", "What is the sea?")]}
PROMPT = ChatPromptTemplate.from_messages([("human", "{question}")])


def for_config(user_id: str) -> RunnableConfig:
    return {"configurable": {"user_id": user_id}}


@pytest.fixture
def engine() -> AgentEngine:
    return AgentEngine()


@pytest.fixture
def llm(engine: AgentEngine, store: InMemoryProfileStore) -> ChatAmulet:
    return ChatAmulet(engine=engine, profiles=store)


@pytest.fixture
def followed(engine: AgentEngine) -> Callable[[], list[str]]:
    """Whose tastes the requests so far had, by the texts in their contexts."""

    def read() -> list[str]:
        return [
            "+".join(user_id for user_id, text in TASTES.items() if text in prompt)
            for prompt in engine.preferences()
        ]

    return read


async def _astream(runnable: Any, asked: Any, config: RunnableConfig) -> None:
    _ = [part async for part in runnable.astream(asked, config)]


async def _aevents(runnable: Any, asked: Any, config: RunnableConfig) -> None:
    _ = [part async for part in runnable.astream_events(asked, config, version="v2")]


WAYS: dict[str, Callable[..., Any]] = {
    "invoke": lambda it, asked, config: it.invoke(asked, config),
    "stream": lambda it, asked, config: list(it.stream(asked, config)),
    "batch": lambda it, asked, config: it.batch([asked], [config]),
    "ainvoke": lambda it, asked, config: asyncio.run(it.ainvoke(asked, config)),
    "abatch": lambda it, asked, config: asyncio.run(it.abatch([asked], [config])),
    "astream": lambda it, asked, config: asyncio.run(_astream(it, asked, config)),
    "astream_events": lambda it, asked, config: asyncio.run(_aevents(it, asked, config)),
}

every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


@tool
def depth(sea: str) -> str:
    """Looks up how deep a sea is."""
    return f"The {sea} is 5,000 m deep."


class Depth(BaseModel):
    """How deep a sea is."""

    metres: int


# Chains.


@every_way
def test_a_chain_hands_the_configs_user_on(llm: ChatAmulet, followed: Any, way: Any) -> None:
    chain = PROMPT | llm | StrOutputParser()
    for user_id in ("ann", "bob", "nobody"):
        way(chain, ASKED, for_config(user_id))
    assert followed() == ["ann", "bob", ""]


@every_way
def test_a_user_in_a_scope_reaches_the_end_of_a_chain(
    llm: ChatAmulet, followed: Any, way: Any
) -> None:
    with preference_scope(user_id="ann"):
        way(PROMPT | llm | StrOutputParser(), ASKED, {})
        way(PROMPT | llm | StrOutputParser(), ASKED, for_config("bob"))
    assert followed() == ["ann", "bob"]


@every_way
def test_for_user_and_a_bound_user_hold_inside_a_chain(
    llm: ChatAmulet, followed: Any, way: Any
) -> None:
    for model in (llm.for_user("ann"), llm.bind(user_id="ann")):
        way(PROMPT | model | StrOutputParser(), ASKED, for_config("bob"))
    assert followed() == ["ann", "ann"]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_batch_through_a_chain_has_a_user_for_each_input(
    llm: ChatAmulet, engine: AgentEngine, followed: Any, asynchronous: bool
) -> None:
    chain = PROMPT | llm | StrOutputParser()
    users = ["ann", "bob", "nobody"] * 3
    inputs = [{"question": f"I am {user_id}."} for user_id in users]
    configs = [for_config(user_id) for user_id in users]
    if asynchronous:
        asyncio.run(chain.abatch(inputs, configs))
    else:
        chain.batch(inputs, configs)
    asked = [next(it for it in users if f"I am {it}." in prompt) for prompt in engine.prompts()]
    assert sorted(asked) == sorted(users)
    assert followed() == [it if it in TASTES else "" for it in asked]


@every_way
def test_branches_of_one_chain_follow_the_same_user(
    llm: ChatAmulet, followed: Any, way: Any
) -> None:
    chain = PROMPT | {"one": llm, "other": llm | StrOutputParser()} | RunnableLambda(str)
    way(chain, ASKED, for_config("bob"))
    assert followed() == ["bob", "bob"]


# Graphs.


def graph_of(*nodes: Any) -> Any:
    graph: Any = StateGraph(MessagesState)
    for place, node in enumerate(nodes):
        graph.add_node(str(place), node)
        graph.add_edge(str(place - 1) if place else START, str(place))
    return graph.compile()


@every_way
def test_a_node_that_is_a_coroutine_or_a_function_hands_the_user_on(
    llm: ChatAmulet, followed: Any, way: Any
) -> None:
    def node(state: MessagesState) -> Any:
        return {"messages": [llm.invoke(state["messages"])]}

    def told(state: MessagesState, config: RunnableConfig) -> Any:
        return {"messages": [llm.invoke(state["messages"], config)]}

    def chain(state: MessagesState) -> Any:
        return {"messages": [(PROMPT | llm).invoke({"question": "Why?"})]}

    way(graph_of(node, told, chain), QUESTION, for_config("ann"))
    assert followed() == ["ann"] * 3


@pytest.mark.parametrize("way", [WAYS[name] for name in WAYS if name.startswith("a")])
def test_a_node_that_awaits_hands_the_user_on(llm: ChatAmulet, followed: Any, way: Any) -> None:
    async def node(state: MessagesState) -> Any:
        return {"messages": [await llm.ainvoke(state["messages"])]}

    async def streams(state: MessagesState) -> Any:
        parts = [part async for part in llm.astream(state["messages"])]
        return {"messages": [AIMessage("".join(part.text for part in parts))]}

    way(graph_of(node, streams), QUESTION, for_config("bob"))
    assert followed() == ["bob", "bob"]


@every_way
def test_for_user_holds_inside_a_node(llm: ChatAmulet, followed: Any, way: Any) -> None:
    pinned = llm.for_user("ann")

    def node(state: MessagesState) -> Any:
        return {"messages": [pinned.invoke(state["messages"])]}

    way(graph_of(node), QUESTION, for_config("bob"))
    assert followed() == ["ann"]


# Agents, and models that tools are bound to.


def asks_once(prompt: str) -> str:
    return "Deep." if "tool_response" in prompt else call("depth", sea="Aegean")


@every_way
def test_an_agent_without_middleware_follows_the_configs_user(
    store: InMemoryProfileStore, way: Any
) -> None:
    engine = AgentEngine(asks_once)
    agent = create_agent(ChatAmulet(engine=engine, profiles=store), [depth])
    way(agent, QUESTION, for_config("bob"))
    assert [TASTES["bob"] in prompt for prompt in engine.preferences()] == [True, True]


@every_way
def test_an_agent_for_one_user_keeps_to_that_user(store: InMemoryProfileStore, way: Any) -> None:
    engine = AgentEngine(asks_once)
    llm = ChatAmulet(engine=engine, profiles=store).for_user("ann")
    way(create_agent(llm, [depth]), QUESTION, for_config("bob"))
    assert [TASTES["ann"] in prompt for prompt in engine.preferences()] == [True, True]
    assert not any(TASTES["bob"] in prompt for prompt in engine.preferences())


@every_way
def test_for_user_survives_tools_and_structure(
    llm: ChatAmulet, engine: AgentEngine, followed: Any, way: Any
) -> None:
    pinned = llm.for_user("ann")
    engine._answer = lambda _: "Deep."
    way(pinned.bind_tools([depth]), "How deep?", for_config("bob"))
    engine._answer = lambda _: '{"metres": 5}'
    way(pinned.with_structured_output(Depth), "How deep?", for_config("bob"))
    engine._answer = lambda _: call("Depth", metres=5)
    structured = pinned.with_structured_output(Depth, method="function_calling")
    way(structured, "How deep?", for_config("bob"))
    assert followed() == ["ann"] * 3


@every_way
def test_a_user_named_as_tools_are_bound_is_kept(llm: ChatAmulet, followed: Any, way: Any) -> None:
    way(llm.bind_tools([depth], user_id="ann"), "How deep?", for_config("bob"))
    assert followed() == ["ann"]


# Models that LangChain rebuilds from their fields.


@every_way
def test_fields_may_be_set_by_the_config_beside_the_user(
    llm: ChatAmulet, engine: AgentEngine, followed: Any, way: Any
) -> None:
    model = llm.configurable_fields(
        temperature=ConfigurableField(id="heat"), max_tokens=ConfigurableField(id="length")
    )
    config: RunnableConfig = {"configurable": {"user_id": "bob", "heat": 0.5, "length": 7}}
    way(PROMPT | model | StrOutputParser(), ASKED, config)
    (request,) = engine.requests
    assert (request.sampling.temperature, request.sampling.max_new_tokens) == (0.5, 7)
    assert followed() == ["bob"]


@every_way
def test_for_user_survives_a_rebuilt_model(llm: ChatAmulet, followed: Any, way: Any) -> None:
    field = ConfigurableField(id="heat")
    model = llm.for_user("ann").configurable_fields(temperature=field)
    way(PROMPT | model, ASKED, {"configurable": {"user_id": "bob", "heat": 0.5}})
    assert followed() == ["ann"]


@every_way
def test_alternatives_are_chosen_by_the_config_beside_the_user(
    llm: ChatAmulet, store: InMemoryProfileStore, followed: Any, way: Any
) -> None:
    other = AgentEngine()
    two = ChatAmulet(engine=other, profiles=store)
    model = llm.configurable_alternatives(
        ConfigurableField(id="which"),
        default_key="one",
        two=two,
    )
    way(PROMPT | model, ASKED, {"configurable": {"user_id": "ann", "which": "two"}})
    way(PROMPT | model, ASKED, {"configurable": {"user_id": "bob"}})
    assert TASTES["ann"] in "".join(other.preferences())
    assert followed() == ["bob"]
