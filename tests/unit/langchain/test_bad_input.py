"""What cannot be answered is refused with advice, and never reaches the engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from amulet_integrations.errors import (
    AmuletError,
    InvalidParamsError,
    PromptError,
    UnknownArgumentError,
    UnsupportedGrammarError,
)
from amulet_integrations.langchain import ChatAmulet
from tests.support.scripted import ScriptedEngine

QUESTION = "What is the sea?"


@tool
def depth(sea: str) -> str:
    """Looks up how deep a sea is."""
    return f"The {sea} is 5,000 m deep."


class Odd(BaseModel):
    """Has a field that no grammar can express."""

    word: str

    @classmethod
    def __get_pydantic_json_schema__(cls, *_: Any) -> dict[str, Any]:
        return {"title": "Odd", "type": "object", "properties": {"word": {"disallow": "x"}}}


def of_schema(**schema: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {"x": schema}}
    return {"name": "odd", "description": "Odd.", "parameters": parameters}


def said(*blocks: Any) -> list[Any]:
    return [HumanMessage(list(blocks))]


NOTHING_FITS = of_schema(type="integer", minimum=5, maximum=4)["parameters"]
CALL = {"name": "depth", "args": {"sea": "Aegean"}, "id": "7"}
CALLING = AIMessage("", tool_calls=[CALL])  # type: ignore[list-item]


@dataclass(frozen=True)
class Bad:
    """One bad input: what is asked, the error, what it names and what it advises."""

    kind: type[AmuletError]
    names: str
    advises: str
    call: dict[str, Any] = field(default_factory=dict)
    asked: Any = QUESTION


BAD: dict[str, Bad] = {
    # Schemas that a grammar cannot express.
    "tool of an old draft": Bad(
        UnsupportedGrammarError, "odd", "Say what", {"tools": [of_schema(disallow="null")]}
    ),
    "strict tool with not": Bad(
        UnsupportedGrammarError,
        "odd",
        "Say what",
        {"tools": [{**of_schema(**{"not": {"type": "null"}}), "strict": True}]},
    ),
    "strict tool with if": Bad(
        UnsupportedGrammarError,
        "odd",
        "anyOf",
        {"tools": [{**of_schema(**{"if": {"type": "null"}, "then": False}), "strict": True}]},
    ),
    "tool with a reference to nowhere": Bad(
        AmuletError, "odd", "", {"tools": [of_schema(**{"$ref": "#/$defs/nowhere"})]}
    ),
    "tool with a pattern that is none": Bad(
        AmuletError, "odd", "", {"tools": [of_schema(type="string", pattern="(")]}
    ),
    "strict tool that looks around": Bad(
        AmuletError,
        "odd",
        "",
        {"tools": [{**of_schema(type="string", pattern="^(?=a)b$"), "strict": True}]},
    ),
    "tool whose schema no object fits": Bad(
        AmuletError,
        "odd",
        "",
        {"tools": [{"name": "odd", "parameters": {**NOTHING_FITS, "required": ["x"]}}]},
    ),
    "pydantic tool": Bad(UnsupportedGrammarError, "Odd", "", {"tools": [Odd]}),
    "strict format with not": Bad(
        UnsupportedGrammarError,
        "not",
        "Say what",
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "s", "strict": True, "schema": {"not": {"type": "null"}}},
            }
        },
    ),
    # Names.
    "two tools of one name": Bad(
        PromptError,
        "'depth'",
        "name of its own",
        {"tools": [depth, {"name": "depth", "description": "Other.", "parameters": {}}]},
    ),
    "choice of no tool": Bad(
        PromptError, "'hight'", "depth", {"tools": [depth], "tool_choice": "hight"}
    ),
    "choice of no tool as a dict": Bad(
        PromptError,
        "'hight'",
        "depth",
        {"tools": [depth], "tool_choice": {"type": "function", "function": {"name": "hight"}}},
    ),
    "choice among none": Bad(PromptError, "tool_choice='any'", "Add some", {"tool_choice": "any"}),
    "choice of no kind": Bad(
        PromptError, "tool_choice=7", "Use", {"tools": [depth], "tool_choice": 7}
    ),
    # Results without calls.
    "result of no call": Bad(
        PromptError, "'8'", "", asked=[HumanMessage("x"), ToolMessage("y", tool_call_id="8")]
    ),
    "result of another call": Bad(
        PromptError,
        "'8'",
        "'7'",
        asked=[HumanMessage("x"), CALLING, ToolMessage("y", tool_call_id="8")],
    ),
    "result before its call": Bad(
        PromptError,
        "'7'",
        "",
        asked=[HumanMessage("x"), ToolMessage("y", tool_call_id="7"), CALLING],
    ),
    # Blocks that are no text.
    "image": Bad(
        PromptError,
        "image",
        "in words",
        asked=said({"type": "image", "base64": "aGk=", "mime_type": "image/png"}),
    ),
    "image beside text": Bad(
        PromptError,
        "image_url",
        "in words",
        asked=said(
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": "https://nowhere.example/x.png"}},
        ),
    ),
    "image of Anthropic's": Bad(
        PromptError,
        "image",
        "in words",
        asked=said(
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": "aGk="},
            }
        ),
    ),
    "sound": Bad(
        PromptError,
        "audio",
        "in words",
        asked=said({"type": "audio", "base64": "aGk=", "mime_type": "audio/wav"}),
    ),
    "video": Bad(PromptError, "video", "in words", asked=said({"type": "video", "url": "x"})),
    "file": Bad(
        PromptError,
        "file",
        "in words",
        asked=said({"type": "file", "base64": "aGk=", "mime_type": "application/pdf"}),
    ),
    "block of no kind": Bad(PromptError, "None", "text only", asked=said({"x": 1})),
    # The rest.
    "several answers": Bad(InvalidParamsError, "n=2", "batch", {"n": 2}),
    "misspelt": Bad(UnknownArgumentError, "'temprature'", "temperature", {"temprature": 1}),
    "top_logprobs alone": Bad(
        InvalidParamsError, "top_logprobs=2", "logprobs=True", {"top_logprobs": 2}
    ),
}


async def _astream(llm: Any, asked: Any, **call: Any) -> Any:
    return [chunk async for chunk in llm.astream(asked, **call)]


async def _aevents(llm: Any, asked: Any, version: str, **call: Any) -> Any:
    if version == "v2":
        return [it async for it in llm.astream_events(asked, version="v2", **call)]
    return await (await llm.astream_events(asked, version="v3", **call)).output


WAYS: dict[str, Callable[..., Any]] = {
    "invoke": lambda llm, asked, **call: llm.invoke(asked, **call),
    "stream": lambda llm, asked, **call: list(llm.stream(asked, **call)),
    "batch": lambda llm, asked, **call: llm.batch([asked], **call),
    "bind": lambda llm, asked, **call: llm.bind(**call).invoke(asked),
    "stream_events": lambda llm, asked, **call: (
        llm.stream_events(asked, version="v3", **call).output
    ),
    "ainvoke": lambda llm, asked, **call: asyncio.run(_await(llm, asked, **call)),
    "astream": lambda llm, asked, **call: asyncio.run(_astream(llm, asked, **call)),
    "abatch": lambda llm, asked, **call: asyncio.run(_abatch(llm, asked, **call)),
    "astream_events v2": lambda llm, asked, **call: asyncio.run(_aevents(llm, asked, "v2", **call)),
    "astream_events v3": lambda llm, asked, **call: asyncio.run(_aevents(llm, asked, "v3", **call)),
}


async def _await(llm: Any, asked: Any, **call: Any) -> Any:
    return await llm.ainvoke(asked, **call)


async def _abatch(llm: Any, asked: Any, **call: Any) -> Any:
    return await llm.abatch([asked], **call)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("bad", BAD)
@pytest.mark.filterwarnings("ignore:.*beta")
def test_bad_input_is_refused_before_the_engine_hears_of_it(bad: str, way: str) -> None:
    engine = ScriptedEngine()
    one = BAD[bad]
    with pytest.raises(one.kind) as caught:
        WAYS[way](ChatAmulet(engine=engine), one.asked, **one.call)
    assert one.names in str(caught.value)
    assert one.advises in str(caught.value)
    assert str(caught.value).endswith((".", "?"))
    assert engine.requests == []


@pytest.mark.parametrize("bad", [name for name in BAD if "tools" in BAD[name].call])
def test_bad_tools_are_refused_when_they_are_bound(bad: str) -> None:
    one = BAD[bad]
    with pytest.raises(one.kind, match=one.names):
        ChatAmulet(engine=ScriptedEngine()).bind_tools(**one.call)


def test_bad_tools_are_refused_inside_an_agent_too() -> None:
    engine = ScriptedEngine()
    agent: Any = create_agent(ChatAmulet(engine=engine), [of_schema(disallow="null")])
    with pytest.raises(UnsupportedGrammarError, match="'odd'"):
        agent.invoke({"messages": [("user", QUESTION)]})
    assert engine.requests == []


def test_private_arguments_are_not_quoted() -> None:
    """What a tool was told by a model may be a user's, so no refusal repeats it."""
    secret = "my quiet allergy"
    calling = AIMessage("", tool_calls=[{**CALL, "args": {"sea": secret}}])  # type: ignore[list-item]
    conversation = [HumanMessage("x"), calling, ToolMessage(secret, tool_call_id="8")]
    with pytest.raises(PromptError) as caught:
        ChatAmulet(engine=ScriptedEngine()).invoke(conversation)
    assert secret not in str(caught.value)


@pytest.mark.parametrize(
    "strange",
    [
        {"tools": "depth"},
        {"tools": {"depth": depth}},
        {"tools": [None]},
        {"tools": [[]]},
        {"tools": [{}]},
        {"tools": [{"type": "function"}]},
        {"tools": [{"type": "function", "function": {"name": None}}]},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": 5}}]},
        {"tools": [{"type": "function", "function": {"name": "f", "description": 5}}]},
        {"tools": [{"name": "f", "parameters": {"type": "object", "properties": 5}}]},
        {"tools": [{"name": "f", "parameters": {"type": "object", "required": "x"}}]},
        {"tools": [depth], "tool_choice": ["depth"]},
        {"tools": [depth], "tool_choice": ""},
        {"tools": [depth], "tool_choice": {"type": ["any"]}},
        {"tools": [depth], "parallel_tool_calls": "no"},
        {"response_format": 5},
        {"response_format": {"type": "json_schema", "json_schema": 5}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": 5}}},
        {"response_format": {"type": ["json_object"]}},
        {"logprobs": 5},
        {"n": "1"},
        {"n": []},
        {"n": True},
        {"steer_strings": "no"},
        {"chat_template_kwargs": {5: 6}},
        {"stop": 5},
        {"stop": [5]},
        {"timeout": "soon"},
        {"timeout": True},
        {"seed": "x"},
        {"seed": True},
        {"temperature": True},
        {"logprobs": True, "top_logprobs": False},
    ],
    ids=lambda call: json.dumps(call, default=lambda given: given.name)[:80],
)
def test_arguments_of_strange_kinds_are_errors_of_ours(strange: dict[str, Any]) -> None:
    engine = ScriptedEngine()
    with pytest.raises(AmuletError):
        ChatAmulet(engine=engine).invoke(QUESTION, **strange)
    assert engine.requests == []


@pytest.mark.parametrize("wanted", [None, False])
@pytest.mark.parametrize("top", [None, 0])
def test_no_logprobs_may_be_asked_for_in_any_words(wanted: bool | None, top: int | None) -> None:
    engine = ScriptedEngine()
    ChatAmulet(engine=engine).invoke(QUESTION, logprobs=wanted, top_logprobs=top)
    assert [request.logprobs for request in engine.requests] == [None]


STRANGE_BLOCKS: list[dict[str, Any]] = [
    {"type": ["text"], "text": "x"},
    {"type": {}, "text": "x"},
    {"type": "text"},
    {"type": "text", "text": None},
    {"type": "text", "text": ["x"]},
    {"type": "tool_result", "tool_use_id": "7", "content": 5},
    {"type": "tool_result", "tool_use_id": "7", "content": {"x": 1}},
    {"type": "tool_result", "tool_use_id": "7", "content": [5]},
    {"type": "reasoning", "summary": 5},
    {"type": "reasoning", "summary": [{"text": 5}]},
    {"type": "tool_use", "name": 5, "id": 5, "input": {}},
    {"type": "tool_use", "name": "f", "id": ["1"], "input": {}},
    {"type": "tool_use", "name": "f", "id": "1", "input": [1]},
    {"type": "function_call", "name": "f", "call_id": "1", "arguments": "[1]"},
]


@pytest.mark.parametrize("kind", [HumanMessage, AIMessage])
@pytest.mark.parametrize("block", STRANGE_BLOCKS, ids=json.dumps)
def test_blocks_of_strange_kinds_are_errors_of_ours(block: dict[str, Any], kind: Any) -> None:
    engine = ScriptedEngine()
    conversation = [HumanMessage("x"), CALLING, kind([block])]
    # Blocks that others' answers may hold are passed over; nothing else happens.
    with suppress(PromptError):
        ChatAmulet(engine=engine).invoke(conversation)
        assert len(engine.requests) == 1
        return
    assert engine.requests == []
