"""What others get to see of answers with tools, structure, agents, stores and failures."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.load import dumpd, dumps
from langchain_core.outputs import LLMResult
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langchain_core.tracers.base import BaseTracer
from langchain_core.tracers.schemas import Run

from amulet_integrations import Preference, PreferenceProfile, SqlProfileStore, preference_scope
from amulet_integrations.errors import AmuletError, GenerationError
from amulet_integrations.langchain import ChatAmulet, PreferenceMiddleware
from tests.support.scripted import ScriptedEngine
from tests.unit.langchain.agents.support import AgentEngine, call
from tests.unit.langchain.personalization.test_privacy import Recorder

SECRET = "my quiet allergy"
PASSWORD = "hunter2"
QUESTION = "How deep is the sea?"
SCHEMA = {"title": "Depth", "type": "object", "properties": {"metres": {"type": "integer"}}}


@tool
def depth(sea: str) -> str:
    """Looks up how deep a sea is."""
    return f"The {sea} is 5,000 m deep."


class Tracer(BaseTracer):
    """Keeps every run, as tracers that send them away would."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Run] = []

    def _persist_run(self, run: Run) -> None:
        self.kept.append(run)

    def told(self) -> str:
        """Everything in the runs and their children, as text."""
        return "".join(f"{run.dict()!r}{json.dumps(run.dict(), default=str)}" for run in self.kept)


async def _astream(llm: Any, asked: Any, config: Any) -> Any:
    return [chunk async for chunk in llm.astream(asked, config)]


async def _alog(llm: Any, asked: Any, config: Any) -> Any:
    return [patch async for patch in llm.astream_log(asked, config)]


WAYS: dict[str, Callable[..., Any]] = {
    "invoke": lambda llm, asked, config: llm.invoke(asked, config),
    "stream": lambda llm, asked, config: list(llm.stream(asked, config)),
    "batch": lambda llm, asked, config: llm.batch([asked, asked], config),
    "ainvoke": lambda llm, asked, config: asyncio.run(llm.ainvoke(asked, config)),
    "astream": lambda llm, asked, config: asyncio.run(_astream(llm, asked, config)),
    "astream_log": lambda llm, asked, config: asyncio.run(_alog(llm, asked, config)),
}

FORMS: dict[str, tuple[str, Callable[[ChatAmulet], Any]]] = {
    "plain": ("Deep.", lambda llm: llm),
    "tools": (call("depth", sea="Aegean"), lambda llm: llm.bind_tools([depth])),
    "json_schema": ('{"metres": 5}', lambda llm: llm.with_structured_output(SCHEMA)),
    "include_raw": (
        '{"metres": 5}',
        lambda llm: llm.with_structured_output(SCHEMA, include_raw=True),
    ),
    "function_calling": (
        call("Depth", metres=5),
        lambda llm: llm.with_structured_output(SCHEMA, method="function_calling"),
    ),
    "retry": ("Deep.", lambda llm: llm.with_retry()),
    "bound": ("Deep.", lambda llm: llm.bind(user_id="zoe", logprobs=True)),
}


@pytest.fixture
def database(tmp_path: Path) -> str:
    """A database with a user whose preference is private, at a place that is as well."""
    store = SqlProfileStore(tmp_path / f"{PASSWORD}.db")
    preferences = [Preference(text=SECRET, name="health")]
    store.save(PreferenceProfile(user_id="zoe", preferences=preferences))
    return f"sqlite:///{tmp_path}/{PASSWORD}.db"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.filterwarnings("ignore")
def test_callbacks_and_traces_hold_neither_preference_nor_password(
    database: str, form: str, way: str
) -> None:
    text, make = FORMS[form]
    engine = AgentEngine(lambda _: text)
    recorder, tracer = Recorder(), Tracer()
    config: Any = {"callbacks": [recorder, tracer], "configurable": {"user_id": "zoe"}}
    llm = ChatAmulet(engine=engine, profiles=database)
    answer = WAYS[way](make(llm), QUESTION, config)
    assert SECRET in "".join(engine.preferences())  # it was followed
    told = repr(recorder.heard) + tracer.told() + repr(answer)
    assert tracer.kept
    assert "health" in told
    assert SECRET not in told
    assert PASSWORD not in told


@pytest.mark.parametrize("form", FORMS)
def test_serialised_chains_hold_neither(database: str, form: str) -> None:
    llm = ChatAmulet(engine=ScriptedEngine(), profiles=database, preference=SECRET, api_key="sk-x")
    chain = FORMS[form][1](llm) | RunnableLambda(str)
    for written in (repr(chain), str(dumpd(chain)), dumps(chain, pretty=True)):
        assert SECRET not in written
        assert PASSWORD not in written
        assert "sk-x" not in written


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.filterwarnings("ignore")
def test_agents_tell_their_callbacks_and_traces_neither(database: str, way: str) -> None:
    engine = AgentEngine(
        lambda prompt: "Deep." if "tool_response" in prompt else call("depth", sea="Aegean")
    )
    agent: Any = create_agent(
        ChatAmulet(engine=engine), [depth], middleware=[PreferenceMiddleware(database)]
    )
    recorder, tracer = Recorder(), Tracer()
    config: Any = {"callbacks": [recorder, tracer], "configurable": {"user_id": "zoe"}}
    answer = WAYS[way](agent, {"messages": [("user", QUESTION)]}, config)
    assert SECRET in "".join(engine.preferences())
    told = repr(recorder.heard) + tracer.told() + repr(answer) + dumps(answer)
    assert SECRET not in told
    assert PASSWORD not in told


class Failing(ScriptedEngine):
    """Fails as soon as it is asked."""

    def _steps(self, request: Any) -> Any:
        raise GenerationError("The model failed.")
        yield


@pytest.mark.parametrize("way", [way for way in WAYS if way != "astream_log"])
def test_a_failure_tells_callbacks_and_readers_neither(database: str, way: str) -> None:
    recorder, tracer = Recorder(), Tracer()
    config: Any = {"callbacks": [recorder, tracer], "configurable": {"user_id": "zoe"}}
    llm = ChatAmulet(engine=Failing(), profiles=database)
    with pytest.raises(GenerationError) as caught:
        WAYS[way](llm, QUESTION, config)
    told = repr(recorder.heard) + tracer.told()
    told += "".join(traceback.format_exception(caught.value))
    assert "on_llm_error" in told
    assert SECRET not in told
    assert PASSWORD not in told


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.filterwarnings("ignore")
def test_a_database_that_cannot_be_opened_does_not_tell_its_password(way: str) -> None:
    recorder, tracer = Recorder(), Tracer()
    config: Any = {"callbacks": [recorder, tracer], "configurable": {"user_id": "zoe"}}
    engine = ScriptedEngine()
    llm = ChatAmulet(engine=engine, profiles=f"nonsense://ann:{PASSWORD}@host/profiles")
    with pytest.raises(AmuletError) as caught:
        WAYS[way](llm, QUESTION, config)
    told = repr(recorder.heard) + tracer.told()
    assert PASSWORD not in told + "".join(traceback.format_exception(caught.value))
    assert engine.requests == []


def test_a_preference_of_the_call_is_told_to_nobody() -> None:
    engine = AgentEngine(lambda _: "Deep.")
    recorder, tracer = Recorder(), Tracer()
    config: Any = {"callbacks": [recorder, tracer]}
    llm = ChatAmulet(engine=engine)
    answers: list[Any] = [
        llm.bind_tools([depth], preference=SECRET).invoke(QUESTION, config),
        llm.bind(preference=SECRET).bind(stop=["x"]).invoke(QUESTION, config),
        llm.with_retry().invoke(QUESTION, config, preference=SECRET),
        (llm.bind(preference=SECRET) | RunnableLambda(lambda it: it.text)).invoke(QUESTION, config),
    ]
    with preference_scope(preference=SECRET):
        answers.append((llm | RunnableLambda(lambda it: it.text)).invoke(QUESTION, config))
    assert all(SECRET in prompt for prompt in engine.preferences())
    assert len(engine.requests) == len(answers)
    assert SECRET not in repr(recorder.heard) + tracer.told() + repr(answers)


def test_whole_generations_and_their_dumps_hold_none() -> None:
    llm = ChatAmulet(engine=ScriptedEngine(), preference=SECRET)
    result = llm.generate([llm._convert_input(QUESTION).to_messages()])
    assert isinstance(result, LLMResult)
    assert SECRET not in repr(result) + dumps(result) + result.model_dump_json()
