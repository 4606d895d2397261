"""Agents and tools of LlamaIndex on the embedded model, beside preferences."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from llama_index.core.agent.workflow import AgentOutput, AgentWorkflow, FunctionAgent
from llama_index.core.tools import FunctionTool, QueryEngineTool

from amulet_integrations import preference_scope
from amulet_integrations.engine import GenerationRequest, LocalEngine
from amulet_integrations.llama_index import AmuletLLM
from tests.integration.test_langchain_standard import STRONGER
from tests.support.library import (
    MILD,
    QUESTION,
    SHORT,
    TASTES,
    Overheard,
    library,
    settings_of,
    store_of,
)

pytestmark = [
    pytest.mark.model,
    # LlamaIndex's workflows look at every attribute of an agent, deprecated ones too.
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning"),
]

WEATHER = "What is the weather in Paris?"
SUNNY = "It is sunny in Paris."


def get_weather(city: str) -> str:
    """Tells the weather in a city."""
    return f"It is sunny in {city}."


@pytest.fixture
def heard(embedded_engine: LocalEngine) -> Overheard:
    return Overheard(embedded_engine)


@pytest.fixture
def llm(heard: Overheard) -> Iterator[AmuletLLM]:
    llm = AmuletLLM(engine=heard, profiles=store_of(TASTES), params=MILD, max_tokens=32)
    with settings_of(llm):
        yield llm


def calls_of(output: AgentOutput) -> list[tuple[str, dict[str, Any]]]:
    return [(call.tool_name, call.tool_kwargs) for call in output.tool_calls]


def told_of(output: AgentOutput) -> list[str]:
    return [call.tool_output.content for call in output.tool_calls]


def weather_agent(llm: AmuletLLM) -> FunctionAgent:
    return FunctionAgent(tools=[get_weather], llm=llm, initial_tool_choice="get_weather")


def answering_ann(heard: Overheard) -> GenerationRequest:
    of_ann = [
        request
        for request, tasted in zip(heard.requests, heard.tasted(TASTES), strict=True)
        if tasted == ["ann"]
    ]
    return of_ann[-1]


@pytest.mark.acceptance
async def test_an_agent_answers_each_of_two_users_as_if_alone(
    heard: Overheard, llm: AmuletLLM
) -> None:
    agent = weather_agent(llm)

    async def run(user_id: str) -> AgentOutput:
        with preference_scope(user_id=user_id):
            handler = agent.run(user_msg=WEATHER)
        return await handler

    together = await asyncio.gather(*map(run, TASTES))
    assert sorted(heard.tasted(TASTES)) == [["ann"], ["ann"], ["bob"], ["bob"]]
    for output in together:
        assert calls_of(output) == [("get_weather", {"city": "Paris"})]
        assert told_of(output) == [SUNNY]
    answers = [output.response.content for output in together]
    assert len(set(answers)) == len(TASTES)
    alone = await weather_agent(llm.for_user("bob")).run(user_msg=WEATHER)
    assert answers[-1] == alone.response.content
    assert answers[0] == heard.alone(answering_ann(heard)).text


async def test_a_workflow_of_agents_asks_the_library_for_each_user(
    heard: Overheard, llm: AmuletLLM, embedded_engine: LocalEngine
) -> None:
    reading = library(embedded_engine).as_query_engine(
        llm=llm.model_copy(update={"max_tokens": 8}), similarity_top_k=1, text_qa_template=SHORT
    )
    tool = QueryEngineTool.from_defaults(reading, name="library", description="Knows the project.")
    agent = FunctionAgent(
        name="reader",
        description="Reads the documentation.",
        tools=[tool],
        llm=llm,
        initial_tool_choice="library",
    )
    workflow = AgentWorkflow(agents=[agent], root_agent="reader")

    async def run(user_id: str) -> AgentOutput:
        with preference_scope(user_id=user_id):
            return await workflow.run(user_msg=QUESTION)

    outputs = await asyncio.gather(*map(run, TASTES))
    calls = [calls_of(output)[0] for output in outputs]
    assert calls[0] == calls[1]
    assert calls[0][0] == "library"
    assert calls[0][1]["input"]
    texts: dict[str, list[str]] = {user_id: [] for user_id in TASTES}
    for (user_id,), text in zip(heard.tasted(TASTES), heard.texts(), strict=True):
        texts[user_id].append(text)
    read = [told_of(output)[0] for output in outputs]
    for own, contexts in zip(read, texts.values(), strict=True):
        assert len(contexts) == 3
        assert own in contexts[-1]
    assert read[0] != read[1]
    assert outputs[0].response.content != outputs[1].response.content


@pytest.mark.xfail(
    STRONGER is None,
    raises=AssertionError,
    reason="Left to decide, the embedded model of 135M parameters calls no tool but writes: 'The "
    'weather in Paris is known as the "Parisian Climate" or "Parisian Climate" in English.\'',
)
async def test_an_agent_decides_to_call_a_tool() -> None:
    llm = AmuletLLM(model=STRONGER or "embedded", max_tokens=24)
    output = await AgentWorkflow.from_tools_or_functions([get_weather], llm=llm).run(
        user_msg=WEATHER
    )
    assert calls_of(output) == [("get_weather", {"city": "Paris"})]


async def test_a_tool_is_called_at_once_the_same_for_each_user(
    heard: Overheard, llm: AmuletLLM
) -> None:
    tools = [FunctionTool.from_defaults(get_weather)]
    ann = asyncio.to_thread(llm.predict_and_call, tools, WEATHER, tool_required=True, user_id="ann")
    with preference_scope(user_id="bob"):
        bob = llm.apredict_and_call(tools, WEATHER, tool_required=True)
    for response in await asyncio.gather(ann, bob):
        (source,) = response.sources
        assert source.tool_name == "get_weather"
        assert source.raw_input["kwargs"] == {"city": "Paris"}
        assert response.response == SUNNY
    assert sorted(heard.tasted(TASTES)) == [["ann"], ["bob"]]
