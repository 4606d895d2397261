"""Tools: how they are bound, which calls come back, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Generic, TypedDict, TypeVar

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.load import dumpd
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from pydantic import BaseModel, Field

from amulet_integrations import preference_scope
from amulet_integrations.errors import (
    AmuletError,
    InvalidParamsError,
    PreferenceSelectionError,
    PromptError,
    UnknownArgumentError,
    UnsupportedGrammarError,
)
from amulet_integrations.langchain import ChatAmulet
from tests.support.scripted import ScriptedEngine

QUESTION = "What is 2 and 3?"


@tool
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


def shout(text: str, times: int = 1) -> str:
    """Says it loud."""
    return text.upper() * times


class Weather(BaseModel):
    """Tells the weather."""

    city: str = Field(description="Where")


Content = TypeVar("Content")


class Box(BaseModel, Generic[Content]):
    """Opens a box."""

    content: Content


class Search(TypedDict):
    """Looks something up."""

    query: str


ANTHROPIC = {
    "name": "pick",
    "description": "Picks a colour.",
    "input_schema": {"type": "object", "properties": {"colour": {"type": "string"}}},
    "cache_control": {"type": "ephemeral"},
}
OPENAI = {"type": "function", "function": {"name": "now", "description": "Tells the time."}}

FORMS = {
    "tool": (add, "add", {"a", "b"}),
    "function": (shout, "shout", {"text", "times"}),
    "pydantic": (Weather, "Weather", {"city"}),
    "json schema": (Weather.model_json_schema(), "Weather", {"city"}),
    "typed dict": (Search, "Search", {"query"}),
    "anthropic": (ANTHROPIC, "pick", {"colour"}),
    "openai": (OPENAI, "now", set()),
}


def said(*calls: tuple[str, Any]) -> str:
    """Calls as the tiny model is told to write them."""
    return "\n".join(
        "<tool_call>\n" + json.dumps({"name": name, "arguments": arguments}) + "\n</tool_call>"
        for name, arguments in calls
    )


def model(*texts: str) -> ChatAmulet:
    return ChatAmulet(engine=ScriptedEngine(texts or ("Well.",)))


def letters(text: str) -> list[str]:
    return list(text)


def prompt_of(llm: ChatAmulet) -> str:
    engine: Any = llm.engine
    return engine.tokenizer.decode(engine.requests[-1].contexts[0])


@pytest.mark.parametrize("form", FORMS)
def test_tools_of_every_form_reach_the_prompt_by_name_and_parameters(form: str) -> None:
    given, name, parameters = FORMS[form]
    llm = model()
    llm.bind_tools([given]).invoke(QUESTION)
    prompt = prompt_of(llm)
    assert f'"{name}"' in prompt
    for parameter in parameters:
        assert f'"{parameter}"' in prompt


def test_tools_may_be_given_to_a_call_as_well() -> None:
    llm = model(*letters(said(("add", {"a": 2, "b": 3}))))
    answer = llm.invoke(QUESTION, tools=[add])
    assert [call["args"] for call in answer.tool_calls] == [{"a": 2, "b": 3}]
    assert llm.invoke(QUESTION).tool_calls == []


CHOICES = {
    None: "auto",
    "auto": "auto",
    "any": "required",
    "required": "required",
    True: "required",
    "none": "none",
    False: "none",
}


@pytest.mark.parametrize("choice", CHOICES, ids=repr)
def test_every_way_to_choose_is_followed(choice: Any) -> None:
    llm = model()
    bound = llm.bind_tools([add, shout], tool_choice=choice)
    bound.invoke(QUESTION)
    engine: Any = llm.engine
    grammars = [alternative.grammar for alternative in engine.requests[-1].alternatives]
    can_call = any("add" in grammar and "shout" in grammar for grammar in grammars)
    assert can_call == (CHOICES[choice] != "none")


@pytest.mark.parametrize(
    "choice",
    [
        "shout",
        {"type": "function", "function": {"name": "shout"}},
        {"type": "tool", "name": "shout"},
        {"type": "function", "name": "shout"},
    ],
    ids=str,
)
def test_a_named_tool_is_the_only_one_that_can_be_called(choice: Any) -> None:
    llm = model()
    llm.bind_tools([add, shout], tool_choice=choice).invoke(QUESTION)
    engine: Any = llm.engine
    (alternative,) = engine.requests[-1].alternatives
    assert r"\"shout\"" in alternative.grammar
    assert r"\"add\"" not in alternative.grammar


def test_a_tool_named_any_is_not_what_any_means() -> None:
    bound: Any = model().bind_tools([add], tool_choice="any")
    assert bound.kwargs["tool_choice"] == "required"


BAD: dict[str, tuple[list[Any], dict[str, Any], type[AmuletError], str]] = {
    "unknown choice": ([add], {"tool_choice": "sub"}, PromptError, "'sub'.*add"),
    "choice of no form": ([add], {"tool_choice": {"x": 1}}, PromptError, "tool_choice"),
    "choice without tools": ([], {"tool_choice": "any"}, PromptError, "no tools"),
    "two of a name": ([add, {**OPENAI["function"], "name": "add"}], {}, PromptError, "'add'"),
    "no tool": ([5], {}, PromptError, "5"),
    "schema without a title": ([{"type": "object", "properties": {}}], {}, PromptError, "title"),
    "a provider's own": ([{"type": "web_search_preview"}], {}, PromptError, "web_search"),
    "bad name": (
        [{"name": "a b", "parameters": {}}],
        {},
        PromptError,
        "^'a b' is no name of a tool; give 1 to 64",
    ),
    "no object": (
        [{"name": "f", "parameters": {"type": "string"}}],
        {},
        PromptError,
        "object",
    ),
    "schema beyond grammars": (
        [{"name": "f", "parameters": {"properties": {"x": {"disallow": "string"}}}}],
        {},
        UnsupportedGrammarError,
        "'f'.*disallow",
    ),
    "misspelt argument": ([add], {"usr_id": "ann"}, UnknownArgumentError, "did you mean 'user_id'"),
}


@pytest.mark.parametrize("bad", BAD)
def test_what_cannot_be_bound_is_refused_when_it_is_bound(bad: str) -> None:
    tools, options, kind, said = BAD[bad]
    with pytest.raises(kind, match=said):
        model().bind_tools(tools, **options)


@pytest.mark.parametrize("bad", [name for name in BAD if name != "misspelt argument"])
async def test_what_cannot_be_used_is_refused_before_anything_is_computed(bad: str) -> None:
    tools, options, kind, _ = BAD[bad]
    llm = model()
    with pytest.raises(kind):
        llm.invoke(QUESTION, tools=tools, **options)
    with pytest.raises(kind):
        llm.astream(QUESTION, tools=tools, **options)
    engine: Any = llm.engine
    assert not engine.requests


def test_one_tool_given_in_two_forms_is_one_tool() -> None:
    bound: Any = model().bind_tools([Weather, Weather.model_json_schema()])
    assert len(bound.kwargs["tools"]) == 1


def test_no_tools_are_no_tools() -> None:
    bound: Any = model().bind_tools([], response_format={"type": "json_object"})
    assert bound.kwargs == {"response_format": {"type": "json_object"}}


def test_bound_arguments_are_kept(chat: Callable[..., ChatAmulet]) -> None:
    bound = chat(engine=ScriptedEngine()).bind_tools([add], user_id="ann", method="pref")
    told = bound.invoke(QUESTION).response_metadata["amulet"]
    assert (told["user_id"], told["method"], told["source"]) == ("ann", "pref", "call")


def test_for_user_survives_the_binding(chat: Callable[..., ChatAmulet]) -> None:
    bound = chat(engine=ScriptedEngine()).for_user("ann").bind_tools([add])
    assert bound.invoke(QUESTION).response_metadata["amulet"]["user_id"] == "ann"


def merged(chunks: list[Any]) -> AIMessageChunk:
    total = chunks[0]
    for chunk in chunks[1:]:
        total += chunk
    return total


def calls_of(message: AIMessage) -> list[tuple[str, Any]]:
    return [(call["name"], call["args"]) for call in message.tool_calls]


TWO = [("add", {"a": 2, "b": 3}), ("shout", {"text": 'hé "x" {'})]


@pytest.mark.parametrize("cut", [letters, lambda text: [text]], ids=["letters", "whole"])
@pytest.mark.parametrize("lead", ["", "Let me see. "])
@pytest.mark.parametrize("version", [None, "v1"])
async def test_calls_come_out_alike_on_every_path(cut: Any, lead: str, version: str) -> None:
    llm = model(*cut(lead + said(*TWO))).model_copy(update={"output_version": version})
    bound = llm.bind_tools([add, shout])
    answers = [
        bound.invoke(QUESTION),
        await bound.ainvoke(QUESTION),
        merged(list(bound.stream(QUESTION))),
        merged([chunk async for chunk in bound.astream(QUESTION)]),
        bound.batch([QUESTION])[0],
    ]
    for answer in answers:
        assert calls_of(answer) == TWO
        assert answer.text == lead.strip()
        ids = {call["id"] for call in answer.tool_calls}
        assert len(ids) == 2
        assert all(one.startswith("call_") for one in ids)
        assert answer.response_metadata["finish_reason"] == "tool_calls"
        kinds = [block["type"] for block in answer.content_blocks]
        assert kinds == ["text"] * bool(lead) + ["tool_call"] * 2
        assert not answer.invalid_tool_calls


def test_a_call_streams_its_id_and_name_once_and_its_arguments_bit_by_bit() -> None:
    bound = model(*letters(said(TWO[0]))).bind_tools([add])
    parts = [part for chunk in bound.stream(QUESTION) for part in chunk.tool_call_chunks]
    assert len(parts) > 3
    assert [bool(part["id"]) for part in parts] == [True] + [False] * (len(parts) - 1)
    assert [part["name"] for part in parts if part["name"]] == ["add"]
    assert json.loads("".join(part["args"] for part in parts)) == TWO[0][1]


@pytest.mark.filterwarnings("ignore:.*beta")
async def test_calls_come_out_of_event_streams() -> None:
    bound: Any = model(*letters("So. " + said(*TWO))).bind_tools([add, shout])
    assert calls_of(bound.stream_events(QUESTION, version="v3").output) == TWO
    stream = await bound.astream_events(QUESTION, version="v3")
    assert calls_of(await stream.output) == TWO


BROKEN = {
    "cut in a string": '<tool_call>\n{"name": "shout", "arguments": {"text": "he',
    "cut after an escape": '<tool_call>\n{"name": "shout", "arguments": {"text": "he\\',
    "cut in an object": '<tool_call>\n{"name": "add", "arguments": {"a": 1',
    "cut in an array": '<tool_call>\n{"name": "shout", "arguments": {"text": [1, 2',
    "cut after the name": '<tool_call>\n{"name": "add", "arguments": ',
    "cut in the name": '<tool_call>\n{"name": "ad',
    "unknown tool": said(("destroy", {"a": 1})),
    "arguments that are no object": said(("add", [1, 2])),
    "no JSON": "<tool_call>\nadd(1, 2)\n</tool_call>",
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("cut", [letters, lambda text: [text]], ids=["letters", "whole"])
async def test_a_broken_call_is_an_invalid_one_on_every_path(broken: str, cut: Any) -> None:
    bound = model(*cut(BROKEN[broken])).bind_tools([add, shout])
    answers = [
        bound.invoke(QUESTION),
        await bound.ainvoke(QUESTION),
        merged(list(bound.stream(QUESTION))),
        merged([chunk async for chunk in bound.astream(QUESTION)]),
    ]
    for answer in answers:
        assert answer.tool_calls == []
        assert len(answer.invalid_tool_calls) == 1
        assert answer.invalid_tool_calls[0]["id"]
        assert answer.response_metadata["finish_reason"] == "stop"
    assert answers[0].invalid_tool_calls[0]["error"]


def test_a_broken_call_does_not_hide_a_good_one() -> None:
    bound = model(said(TWO[0], ("destroy", {}))).bind_tools([add])
    for answer in (bound.invoke(QUESTION), merged(list(bound.stream(QUESTION)))):
        assert calls_of(answer) == [TWO[0]]
        assert [call["name"] for call in answer.invalid_tool_calls] == ["destroy"]
        assert answer.response_metadata["finish_reason"] == "tool_calls"


def test_streaming_may_be_turned_off_for_tools_alone() -> None:
    llm = model(*letters(said(TWO[0]))).model_copy(update={"disable_streaming": "tool_calling"})
    assert len(list(llm.bind_tools([add]).stream(QUESTION))) == 1
    assert len(list(llm.stream(QUESTION))) > 1


def test_a_whole_exchange_with_a_tool_is_shown_to_the_model() -> None:
    llm = model(said(TWO[0]))
    bound = llm.bind_tools([add])
    question = HumanMessage(QUESTION)
    call = bound.invoke([question])
    result = add.invoke(call.tool_calls[0])
    assert isinstance(result, ToolMessage)
    bound.invoke([question, call, result])
    prompt = prompt_of(llm)
    assert '"arguments": {"a": 2, "b": 3}' in prompt
    assert prompt.index(QUESTION) < prompt.rindex("<tool_call>") < prompt.rindex("5")


def test_a_generic_model_is_a_tool_of_a_clean_name() -> None:
    bound: Any = model().bind_tools([Box[int]])
    assert [one["function"]["name"] for one in bound.kwargs["tools"]] == ["Box_int_"]
    assert bound.invoke(QUESTION).text == "Well."


def test_stop_strings_do_not_cut_calls(chat: Callable[..., ChatAmulet]) -> None:
    llm = chat(max_tokens=80, stop=("arguments", "{", "add"))
    answer = llm.bind_tools([add], tool_choice="add").invoke(QUESTION)
    assert [call["name"] for call in answer.tool_calls] == ["add"]
    assert not answer.invalid_tool_calls


SECRET = "my quiet allergy"
TOLD: dict[str, dict[str, Any]] = {
    "text": {"preference": SECRET},
    "dict": {"profile": {"user_id": "zoe", "preferences": [{"text": SECRET}]}},
}
BINDINGS: dict[str, Callable[..., Any]] = {
    "bind": lambda llm, **told: llm.bind(**told),
    "bind twice": lambda llm, **told: llm.bind(stop=["x"]).bind(**told).with_config(tags=["a"]),
    "bind_tools": lambda llm, **told: llm.bind_tools([add], **told),
    "structured": lambda llm, **told: llm.with_structured_output(
        {"title": "x", "type": "object"}, include_raw=True, **told
    ),
}


@pytest.mark.parametrize("told", TOLD)
@pytest.mark.parametrize("way", BINDINGS)
async def test_a_binding_follows_a_preference_and_tells_no_text_of_it(way: str, told: str) -> None:
    llm = model("{}").model_copy(update={"cache": InMemoryCache()})
    bound = BINDINGS[way](llm, **TOLD[told])
    assert SECRET not in json.dumps(dumpd(bound)) + repr(bound) + str(bound)
    answers = [bound.invoke(QUESTION), *bound.batch([QUESTION]), await bound.ainvoke(QUESTION)]
    answers.append(merged(list(bound.stream("Another?"))))
    engine: Any = llm.engine
    assert len(engine.requests) == 2
    for request in engine.requests:
        assert any(SECRET in engine.tokenizer.decode(ids) for ids in request.contexts)
    for answer in answers:
        assert (answer["raw"] if way == "structured" else answer).text == "{}"


@pytest.mark.parametrize("told", [{"preference": 5}, {"profile": "text"}], ids=str)
def test_a_binding_refuses_what_is_no_preference(told: Any) -> None:
    with pytest.raises(PreferenceSelectionError):
        model().bind(**told)


async def _last(items: Any) -> Any:
    return [item async for item in items][-1]


async def _second(items: Any) -> Any:
    return (await _last(items))[1]


async def _first(answers: Any) -> Any:
    return (await answers)[0]


async def _output(stream: Any) -> Any:
    return await (await stream).output


LATER: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "stream": (lambda llm: llm.stream(QUESTION), lambda chunks: list(chunks)[-1]),
    "batch_as_completed": (
        lambda llm: llm.batch_as_completed([QUESTION, QUESTION]),
        lambda answers: list(answers)[-1][1],
    ),
}
ALATER: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "ainvoke": (lambda llm: llm.ainvoke(QUESTION), lambda answer: answer),
    "astream": (lambda llm: llm.astream(QUESTION), _last),
    "abatch": (lambda llm: llm.abatch([QUESTION, QUESTION]), _first),
    "abatch_as_completed": (lambda llm: llm.abatch_as_completed([QUESTION, QUESTION]), _second),
    "astream_events v3": (lambda llm: llm.astream_events(QUESTION, version="v3"), _output),
}
BOUND: dict[str, Callable[[ChatAmulet], Any]] = {
    "tools": lambda llm: llm.bind_tools([add]),
    "rebound": lambda llm: llm.bind(stop=["x"]).bind(top_k=3).with_config(tags=["a"]),
}


@pytest.mark.filterwarnings("ignore:.*beta")
@pytest.mark.parametrize("bound", BOUND)
@pytest.mark.parametrize("way", [*LATER, *ALATER])
async def test_a_binding_follows_the_scope_in_which_it_was_asked(
    chat: Callable[..., ChatAmulet], way: str, bound: str
) -> None:
    llm = BOUND[bound](chat(engine=ScriptedEngine()))
    ask, read = {**LATER, **ALATER}[way]
    with preference_scope(user_id="ann"):
        asked = ask(llm)
    with preference_scope(user_id="bob"):
        answer = read(asked) if way in LATER else await read(asked)
    assert answer.response_metadata["amulet"]["user_id"] == "ann"


def test_a_binding_is_loaded_as_langchains_own() -> None:
    bound = ChatAmulet().bind_tools([add], user_id="ann")
    form = dumpd(bound)
    assert form["id"] == dumpd(RunnableLambda(shout).bind(times=2))["id"]
    assert form["kwargs"]["kwargs"]["user_id"] == "ann"


def test_a_model_of_several_answers_is_refused_with_a_way_to_get_them() -> None:
    with pytest.raises(InvalidParamsError, match="n=2: a call gives one answer"):
        ChatAmulet(n=2)  # type: ignore[call-arg]
