"""Work inside an agent that no user reads is plain; the agent's own answers are not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    LLMToolEmulator,
    LLMToolSelectorMiddleware,
    SummarizationMiddleware,
)
from langchain_core.load import dumps
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langgraph.graph import END, START, MessagesState, StateGraph

from amulet_integrations import InMemoryProfileStore, PreferenceProfile, preference_scope
from amulet_integrations.langchain import ChatAmulet, PreferenceMiddleware
from tests.unit.langchain.agents.support import AgentEngine, call

TASTE = "I only care about news."
SYSTEM = "You are the agent."
YES = {"title": "Verdict", "type": "object", "properties": {"fine": {"type": "boolean"}}}
CONFIG: dict[str, Any] = {"configurable": {"user_id": "ann"}}


@tool
def depth(sea: str) -> str:
    """Looks up how deep a sea is."""
    return "5,000 m"


@tool
def news(place: str) -> str:
    """Looks up the news of a place."""
    return "None."


def answer(prompt: str) -> str:
    """What the model says: the agent calls a tool once; a selector picks one; a judge agrees."""
    if "Your goal is to select" in prompt:
        return '{"tools": ["depth"]}'
    if "Verdict" in prompt:
        return '{"fine": true}'
    if SYSTEM in prompt and "tool_response" not in prompt and "5,000 m" not in prompt:
        return call("depth", sea="Timor")
    return "Well, 5,000 m."


def model(**settings: Any) -> ChatAmulet:
    store = InMemoryProfileStore([PreferenceProfile(user_id="ann", preferences=[TASTE])])
    return ChatAmulet(engine=AgentEngine(answer), profiles=store, **settings)


class Hooks(AgentMiddleware):
    """Asks a model in every hook, as guardrails do."""

    def __init__(self, llm: Any) -> None:
        super().__init__()
        self.llm = llm

    def before_agent(self, state: Any, runtime: Any) -> None:
        self.llm.invoke("Is this safe?")

    def before_model(self, state: Any, runtime: Any) -> None:
        list(self.llm.stream([HumanMessage("Is this safe?")]))

    async def aafter_model(self, state: Any, runtime: Any) -> None:
        await self.llm.ainvoke("Is this safe?")

    def after_model(self, state: Any, runtime: Any) -> None:
        self.llm.with_structured_output(YES).invoke("Is this safe?")

    def after_agent(self, state: Any, runtime: Any) -> None:
        self.llm.bind(temperature=0.1).batch(["Is this safe?"])


class Judge(AgentMiddleware):
    """Asks for an object around the agent's own call."""

    def __init__(self, llm: Any) -> None:
        super().__init__()
        self.llm = llm.with_structured_output(YES)

    def wrap_model_call(self, request: Any, handler: Any) -> Any:
        self.llm.invoke("Is this safe?")
        return handler(request)

    async def awrap_model_call(self, request: Any, handler: Any) -> Any:
        await self.llm.ainvoke("Is this safe?")
        return await handler(request)


MIDDLEWARE: dict[str, Callable[[Any], Any]] = {
    "selector": lambda llm: LLMToolSelectorMiddleware(model=llm),
    "selector of the agent's model": lambda _: LLMToolSelectorMiddleware(),
    "summaries": lambda llm: SummarizationMiddleware(
        model=llm, trigger=("messages", 1), keep=("messages", 1)
    ),
    "emulator": lambda llm: LLMToolEmulator(tools=["depth"], model=llm),
    "hooks": Hooks,
    "judge": Judge,
}
# How the user is named, and the agent's model and context for that.
NAMED: dict[str, tuple[Callable[[], ChatAmulet], Any, Any]] = {
    "config": (model, CONFIG, nullcontext),
    "scope": (model, None, lambda: preference_scope(user_id="ann")),
    "constructor": (lambda: model(preference=TASTE, preset="paper"), None, nullcontext),
    "for_user": (lambda: model().for_user("ann"), None, nullcontext),
    "bind": (lambda: model().bind(user_id="ann"), None, nullcontext),
}
MESSAGES = {"messages": [("user", "Hello."), ("ai", "Hello."), ("user", "How deep is it?")]}


def ask(agent: Any, config: Any, way: str) -> None:
    if way == "invoke":
        agent.invoke(MESSAGES, config)
    else:
        asyncio.run(agent.ainvoke(MESSAGES, config))


def calls(llm: Any) -> tuple[list[bool], list[bool]]:
    """Whether each own call, and each other call, followed the preference."""
    engine: Any = llm.engine
    followed = [TASTE in prompt for prompt in engine.preferences()]
    own = [SYSTEM in prompt for prompt in engine.prompts()]
    pairs = list(zip(own, followed, strict=True))
    return [it for is_own, it in pairs if is_own], [it for is_own, it in pairs if not is_own]


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
@pytest.mark.parametrize("named", NAMED)
@pytest.mark.parametrize("kind", MIDDLEWARE)
def test_work_inside_middleware_is_plain(kind: str, named: str, way: str) -> None:
    make, config, scope = NAMED[named]
    llm = make()
    bound = named in {"for_user", "bind"}
    helper = model().model_copy(update={"engine": llm.engine}) if bound else llm
    agent = create_agent(
        llm, [depth, news], middleware=[MIDDLEWARE[kind](helper)], system_prompt=SYSTEM
    )
    with scope():
        ask(agent, config, way)
    own, others = calls(llm)
    engine: Any = llm.engine
    # Calls are written by the base context; the preference is in the answers' other context.
    assert own, others
    assert others
    assert not any(others)
    assert all(len(request.contexts) == 1 for request in engine.requests if not _own(llm, request))
    assert own[-1]


def _own(llm: Any, request: Any) -> bool:
    return SYSTEM in llm.engine._read(request.contexts[0])


@pytest.mark.parametrize(
    "asked", [lambda it: it.bind(user_id="ann"), lambda it: it.bind(preference=TASTE)]
)
@pytest.mark.parametrize("kind", ["summaries"])
def test_a_model_that_is_bound_to_a_user_follows_that_user(kind: str, asked: Any) -> None:
    llm = model()
    agent = create_agent(
        llm, [depth, news], middleware=[MIDDLEWARE[kind](asked(llm))], system_prompt=SYSTEM
    )
    ask(agent, None, "invoke")
    own, others = calls(llm)
    assert others
    assert all(others)
    assert not any(own)


def named_in_model(llm: ChatAmulet) -> ChatAmulet:
    return llm.for_user("ann")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("summaries", {True}), ("emulator", {True}), ("hooks", {True, False}), ("judge", {False})],
)
@pytest.mark.parametrize(
    "named",
    [
        named_in_model,
        lambda llm: llm.bind(user_id="ann"),
        lambda llm: llm.bind(preference=TASTE),
        lambda llm: llm.bind(user_id="ann").with_retry().with_config(tags=["x"]),
    ],
)
def test_texts_follow_who_is_bound_and_decisions_do_not(
    kind: str, expected: set[bool], named: Any
) -> None:
    llm = model()
    if kind == "emulator" and not isinstance(named(llm), ChatAmulet):
        named = named_in_model  # LangChain's emulator takes no bindings
    middleware = MIDDLEWARE[kind](named(llm))
    agent = create_agent(llm, [depth, news], middleware=[middleware], system_prompt=SYSTEM)
    ask(agent, None, "invoke")
    own, others = calls(llm)
    assert set(others) == expected
    assert not any(own)


@pytest.mark.parametrize(
    "decide",
    [
        lambda llm: llm.with_structured_output(YES).invoke("Is this safe?", user_id="ann"),
        lambda llm: llm.with_structured_output(YES, user_id="ann").invoke("Is this safe?"),
    ],
)
@pytest.mark.parametrize("bound", [{}, {"preset": "strong"}, {"user_id": "nobody"}])
def test_decisions_follow_who_is_named_for_them(decide: Any, bound: dict[str, Any]) -> None:
    class Deciding(AgentMiddleware):
        def wrap_model_call(self, request: Any, handler: Any) -> Any:
            decide(request.model)
            return handler(request)

    llm = model(unknown_user="plain")
    agent = create_agent(llm.bind(**bound), middleware=[Deciding()], system_prompt=SYSTEM)
    ask(agent, None, "invoke")
    own, others = calls(llm)
    assert others == [True]
    assert not any(own)


def test_a_preference_that_is_bound_before_a_schema_stays_hidden() -> None:
    for made in (model().bind(preference=TASTE), model().bind(preference=TASTE).with_retry()):
        structured = made.with_structured_output(YES)
        assert TASTE not in dumps(structured) + repr(structured)


def test_what_is_bound_counts_for_objects_outside_of_agents() -> None:
    llm = model(unknown_user="plain")
    made = llm.bind(user_id="ann", preset="strong").with_structured_output(YES)
    made.invoke("Is this safe?")
    made.invoke("Is this safe?", user_id="nobody")
    assert calls(llm)[1] == [True, False]


def test_the_middleware_of_preferences_leaves_other_middleware_plain() -> None:
    llm = model()
    middleware = [PreferenceMiddleware(tools=False), LLMToolSelectorMiddleware(), Judge(llm)]
    agent = create_agent(llm, [depth, news], middleware=middleware, system_prompt=SYSTEM)
    ask(agent, CONFIG, "invoke")
    own, others = calls(llm)
    assert own[-1]
    assert len(others) >= 2
    assert not any(others)


@pytest.mark.parametrize("node", ["model", "summarize", "judge.model"])
def test_the_nodes_of_other_graphs_are_personal(node: str) -> None:
    llm = model()

    def step(state: Any) -> Any:
        llm.with_structured_output(YES).invoke("Is this safe?")
        return {"messages": [llm.invoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node(node, step)
    graph.add_edge(START, node)
    graph.add_edge(node, END)
    graph.compile().invoke(MESSAGES, CONFIG)
    assert calls(llm) == ([], [True, True])


def test_the_metadata_of_an_application_makes_no_call_internal() -> None:
    llm = model()
    config = {**CONFIG, "metadata": {"lc_source": "website", "langgraph_node": "x"}}
    llm.invoke("Hello.", config)
    ask(create_agent(llm, [], system_prompt=SYSTEM), config, "invoke")
    own, others = calls(llm)
    assert own == others == [True]


def test_a_tool_that_asks_a_model_is_personal() -> None:
    llm = model()

    @tool("depth")
    def asking(sea: str) -> str:
        """Looks up how deep a sea is."""
        llm.invoke(f"How deep is {sea}?")
        return "5,000 m"

    ask(create_agent(llm, [asking], system_prompt=SYSTEM), CONFIG, "invoke")
    own, others = calls(llm)
    assert own[-1]
    assert others == [True]
