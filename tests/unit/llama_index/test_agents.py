"""LlamaIndex's agents, where the model decides by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any

import pytest
from llama_index.core.agent.workflow import (
    AgentOutput,
    AgentStream,
    AgentWorkflow,
    FunctionAgent,
    ReActAgent,
    ToolCallResult,
)
from llama_index.core.base.llms.types import MessageRole
from llama_index.core.tools import FunctionTool
from llama_index.core.workflow import Context
from pydantic import BaseModel

from amulet_integrations import preference_scope
from amulet_integrations.engine import GenerationRequest
from amulet_integrations.engine.result import Increment, Usage
from amulet_integrations.llama_index import AmuletLLM
from tests.support.tiny import tiny_engine as make_tiny_engine
from tests.unit.langchain.agents.support import AgentEngine, call
from tests.unit.llama_index.support import ANN, BOB, store_of_two

QUESTION = "How deep are the seas?"


class LetterByLetter(AgentEngine):
    """Answers in pieces, so that streams have something to tell before they end."""

    def _steps(self, request: GenerationRequest) -> Generator[Increment, None, None]:
        text = self._answer(self._read(request.contexts[0]))
        lengths = tuple(len(context) for context in request.contexts)
        for letter in text[:-1]:
            yield Increment(letter, (5,))
        yield Increment(text[-1:], (1,), "stop", Usage(lengths[0], len(text), lengths))


def depth(sea: str) -> str:
    """Looks up how deep a sea is."""
    return f"The {sea} is {1000 * len(sea)} m deep."


def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


TOOLS = [FunctionTool.from_defaults(depth), FunctionTool.from_defaults(add)]


def in_turns(*texts: str) -> Callable[[str], str]:
    """One text after the other, by how many answers the prompt shows."""

    def answer(prompt: str) -> str:
        return texts[prompt.rpartition(QUESTION)[2].count("assistant\n") - 1]

    return answer


def model(answer: Callable[[str], str], **settings: Any) -> AmuletLLM:
    return AmuletLLM(engine=LetterByLetter(answer), **settings)


async def run(agent: Any, question: str = QUESTION) -> tuple[AgentOutput, list[Any]]:
    handler = agent.run(user_msg=question)
    events = [event async for event in handler.stream_events()]
    return await handler, events


def results(events: list[Any]) -> list[tuple[str, Any, str]]:
    return [
        (event.tool_name, event.tool_kwargs, str(event.tool_output.content))
        for event in events
        if isinstance(event, ToolCallResult)
    ]


ASKED_TWICE = in_turns(
    f"Let me see.\n{call('depth', sea='Aegean')}", call("add", a=6000, b=1), "6001 m."
)


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_function_agent_calls_until_the_model_answers(streaming):
    llm = model(ASKED_TWICE)
    agent = FunctionAgent(llm=llm, tools=TOOLS, streaming=streaming)
    output, events = await run(agent)
    assert str(output) == "6001 m."
    assert [made.tool_name for made in output.tool_calls] == ["depth", "add"]
    assert results(events) == [
        ("depth", {"sea": "Aegean"}, "The Aegean is 6000 m deep."),
        ("add", {"a": 6000, "b": 1}, "6001"),
    ]
    engine: Any = llm.engine
    first, second, third = engine.prompts()
    # Each prompt goes on from the one before, so the history is repeated as it was.
    assert second.startswith(first)
    assert third.startswith(second)
    assert call("depth", sea="Aegean") in second
    assert "Let me see." in second
    assert "The Aegean is 6000 m deep." in second
    assert call("add", a=6000, b=1) in third
    # The model was free: it might have answered with text.
    assert all(request.alternatives for request in engine.requests)


async def test_the_stream_of_a_function_agent_has_text_and_calls_as_they_grow():
    _, events = await run(FunctionAgent(llm=model(ASKED_TWICE), tools=TOOLS))
    streamed = [event for event in events if isinstance(event, AgentStream)]
    assert "".join(event.delta for event in streamed) == "Let me see.6001 m."
    growing = [
        selection.tool_kwargs.get("sea", "")
        for event in streamed
        for selection in event.tool_calls
        if selection.tool_name == "depth"
    ]
    assert growing[-1] == "Aegean"
    assert all("Aegean".startswith(part) for part in growing)
    assert len(set(growing)) > 3


async def test_calls_in_parallel_are_all_made_and_answered():
    seas = ["Aegean", "Ionian Sea", "Red"]
    calls = "\n".join(call("depth", sea=sea) for sea in seas)
    llm = model(in_turns(calls, "Deep."))
    output, events = await run(FunctionAgent(llm=llm, tools=TOOLS))
    assert str(output) == "Deep."
    assert sorted(text for *_, text in results(events)) == sorted(map(depth, seas))
    engine: Any = llm.engine
    assert all(depth(sea) in engine.prompts()[1] for sea in seas)


@pytest.mark.parametrize("initial", ["add", "Box[int]"])
async def test_the_first_call_can_be_settled(initial):
    class Box(BaseModel):
        """Opens a box."""

        content: int

    box = FunctionTool.from_defaults(
        lambda content: content, name="Box[int]", description="Opens.", fn_schema=Box
    )
    with make_tiny_engine(max_position_embeddings=4096) as engine:
        llm = AmuletLLM(engine=engine, max_tokens=150)
        agent = FunctionAgent(llm=llm, tools=[*TOOLS, box], initial_tool_choice=initial)
        _, events = await run(agent)
    assert [name for name, *_ in results(events)][:1] == [initial]


async def test_the_error_of_a_tool_is_shown_to_the_model():
    llm = model(in_turns(call("add", a="many", b=1), call("add", a=1, b=1), "Two."))
    output, events = await run(FunctionAgent(llm=llm, tools=TOOLS))
    assert str(output) == "Two."
    assert [text for *_, text in results(events)][1:] == ["2"]
    engine: Any = llm.engine
    assert "can only concatenate str" in engine.prompts()[1]


async def test_a_call_that_cannot_be_made_ends_the_run_as_text():
    llm = model(lambda _: call("sink", ship="Argo"))
    output, events = await run(FunctionAgent(llm=llm, tools=TOOLS))
    assert results(events) == []
    assert "sink" in str(output)
    assert output.raw["invalid_tool_calls"][0]["name"] == "sink"


async def test_a_second_question_has_the_history_of_the_first():
    def answer(prompt: str) -> str:
        if "And the Red?" in prompt:
            return "Shallow."
        return in_turns(call("depth", sea="Aegean"), "Deep.")(prompt)

    llm = model(answer)
    agent = FunctionAgent(llm=llm, tools=TOOLS)
    context = Context(agent)
    assert str(await agent.run(user_msg=QUESTION, ctx=context)) == "Deep."
    said_before = await (await context.store.get("memory")).aget_all()
    roles = [message.role for message in said_before]
    assert roles == [
        MessageRole.USER,
        MessageRole.ASSISTANT,
        MessageRole.TOOL,
        MessageRole.ASSISTANT,
    ]
    again = await agent.run(user_msg="And the Red?", chat_history=said_before)
    assert str(again) == "Shallow."
    engine: Any = llm.engine
    prompt = engine.prompts()[-1]
    parts = [QUESTION, call("depth", sea="Aegean"), depth("Aegean"), "Deep.", "And the Red?"]
    places = [prompt.index(part) for part in parts]
    assert places == sorted(places)


async def test_an_agent_hands_over_to_another():
    def answer(prompt: str) -> str:
        if "You measure." in prompt:
            return "6000 m." if depth("Aegean") in prompt else call("depth", sea="Aegean")
        return call("handoff", to_agent="gauge", reason="It measures.")

    llm = model(answer)
    desk = FunctionAgent(
        name="desk",
        description="Takes questions.",
        system_prompt="You take questions.",
        llm=llm,
        tools=[TOOLS[1]],
        can_handoff_to=["gauge"],
    )
    gauge = FunctionAgent(
        name="gauge",
        description="Measures seas.",
        system_prompt="You measure.",
        llm=llm,
        tools=[TOOLS[0]],
        can_handoff_to=[],
    )
    output, events = await run(AgentWorkflow(agents=[desk, gauge], root_agent="desk"))
    assert str(output) == "6000 m."
    assert output.current_agent_name == "gauge"
    assert [name for name, *_ in results(events)] == ["handoff", "depth"]
    engine: Any = llm.engine
    first, second, third = engine.prompts()
    assert "You take questions." in first
    assert '"handoff"' in first
    assert "You measure." in second
    assert "It measures." in second
    assert depth("Aegean") in third


def react(prompt: str) -> str:
    if depth("Aegean") in prompt:
        return "Thought: I can answer without using any more tools.\nAnswer: 6000 m."
    return 'Thought: I need to use a tool.\nAction: depth\nAction Input: {"sea": "Aegean"}'


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_react_agent_reads_thoughts_and_actions(streaming):
    llm = model(react)
    output, events = await run(ReActAgent(llm=llm, tools=TOOLS, streaming=streaming))
    assert "6000 m." in str(output)
    assert results(events) == [("depth", {"sea": "Aegean"}, depth("Aegean"))]
    engine: Any = llm.engine
    assert len(engine.requests) == 2
    assert "Observation: " + depth("Aegean") in engine.prompts()[1]


async def test_a_react_agent_works_where_prompts_are_written_whole():
    llm = model(
        react,
        messages_to_prompt=lambda messages: "\n".join(
            f"{message.role.value}: {message.content}" for message in messages
        ),
    )
    output, events = await run(ReActAgent(llm=llm, tools=TOOLS))
    assert "6000 m." in str(output)
    assert len(results(events)) == 1


AGENTS: dict[str, tuple[Any, Callable[[str], str], int]] = {
    "function": (FunctionAgent, ASKED_TWICE, 3),
    "react": (ReActAgent, react, 2),
}


@pytest.mark.parametrize("kind", AGENTS)
async def test_two_users_run_agents_at_once_and_each_request_follows_its_own(kind):
    make, answer, requests = AGENTS[kind]
    llm = model(answer, profiles=store_of_two())
    agents = {user_id: make(llm=llm, tools=TOOLS) for user_id in ("ann", "bob")}

    async def ask(user_id: str) -> AgentOutput:
        with preference_scope(user_id=user_id):
            return await agents[user_id].run(user_msg=f"I am {user_id}. {QUESTION}")

    await asyncio.gather(ask("ann"), ask("bob"))
    engine: Any = llm.engine
    requested = list(zip(engine.prompts(), engine.preferences(), strict=True))
    assert len(requested) == 2 * requests
    for prompt, preferring in requested:
        is_ann = "I am ann." in prompt
        assert ANN not in prompt
        assert BOB not in prompt
        assert (ANN in preferring, BOB in preferring) == (is_ann, not is_ann)
    assert sum("I am ann." in prompt for prompt, _ in requested) == requests


@pytest.mark.parametrize("kind", AGENTS)
async def test_a_run_follows_the_user_who_started_it_wherever_its_events_are_read(kind):
    make, answer, requests = AGENTS[kind]
    llm = model(answer, profiles=store_of_two())
    agent = make(llm=llm, tools=TOOLS)
    with preference_scope(user_id="ann"):
        handler = agent.run(user_msg=QUESTION)
    with preference_scope(user_id="bob"):
        events = [event async for event in handler.stream_events()]
        await handler
    assert any(isinstance(event, AgentStream) for event in events)
    engine: Any = llm.engine
    assert [ANN in preferring for preferring in engine.preferences()] == [True] * requests
    assert not any(BOB in preferring for preferring in engine.preferences())


async def test_an_agent_on_a_users_own_copy_needs_no_scope():
    llm = model(ASKED_TWICE, profiles=store_of_two())
    await FunctionAgent(llm=llm.for_user("bob"), tools=TOOLS).run(user_msg=QUESTION)
    await FunctionAgent(llm=llm, tools=TOOLS).run(user_msg=QUESTION)
    engine: Any = llm.engine
    followed = [BOB in preferring for preferring in engine.preferences()]
    assert followed == [True] * 3 + [False] * 3
