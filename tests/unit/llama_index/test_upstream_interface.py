"""What LlamaIndex checks of language models in its own tests, of this one."""

from __future__ import annotations

from typing import Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent, ToolCallResult
from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse
from llama_index.core.callbacks import CallbackManager
from llama_index.core.callbacks.schema import EventPayload
from llama_index.core.llms import LLM, CustomLLM
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.program.function_program import get_function_tool
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel, Field

from amulet_integrations.llama_index import AmuletLLM
from tests.support.scripted import ScriptedEngine
from tests.unit.langchain.agents.support import AgentEngine, call
from tests.unit.llama_index.recorders import Callbacks
from tests.unit.llama_index.support import ANN, QUESTION, chat_messages, engine_result, small_llm

CHAT = chat_messages(("user", QUESTION))
PASSWORD = "hunter2"


class Person(BaseModel):
    """Somebody."""

    name: str = Field(description="The person's name")


def test_it_is_every_kind_of_model_that_llama_index_has(tiny_engine):
    llm = small_llm(tiny_engine)
    for kind in (BaseLLM, LLM, CustomLLM, FunctionCallingLLM):
        assert kind.__name__ in [base.__name__ for base in type(llm).__mro__]
        assert isinstance(llm, kind)
    assert llm.metadata.is_function_calling_model
    assert llm.metadata.is_chat_model


def scripted(*texts: str, **settings: Any) -> AmuletLLM:
    return AmuletLLM(engine=ScriptedEngine(texts or ("Well", ".")), **settings)


async def predicted(way: str, llm: AmuletLLM, **kwargs: Any) -> Any:
    answer = getattr(llm, way)(**kwargs)
    return await answer if way.startswith("a") else answer


both_ways = pytest.mark.parametrize("way", ["predict_and_call", "apredict_and_call"])


@both_ways
async def test_a_program_tool_is_called(way):
    tool = get_function_tool(Person)
    llm = scripted(call("Person", name="Ann"))
    answer = await predicted(way, llm, tools=[tool], user_msg=QUESTION)
    assert answer.sources[0].raw_output == Person(name="Ann")


@both_ways
async def test_a_program_tool_that_refuses_its_arguments_is_an_error_where_asked_for(way):
    tool = get_function_tool(Person)
    llm = scripted(call("Person"))
    answer = await predicted(way, llm, tools=[tool], user_msg=QUESTION)
    assert answer.sources[0].is_error
    with pytest.raises(ValueError, match="name"):
        await predicted(way, llm, tools=[tool], user_msg=QUESTION, error_on_tool_error=True)


async def test_an_agent_calls_all_tools_with_what_the_model_gives_them():
    def weather(place: str = "Berlin") -> str:
        return f"weather in {place}"

    def product(a: int = 1, b: int = 2) -> int:
        return a * b

    calls = f"{call('weather')}\n{call('product', a=10, b=20)}"
    engine = AgentEngine(lambda prompt: "Done." if "weather in" in prompt else calls)
    tools = [FunctionTool.from_defaults(weather), FunctionTool.from_defaults(product)]
    handler = FunctionAgent(llm=AmuletLLM(engine=engine), tools=tools).run(user_msg="Call both.")
    events = [event async for event in handler.stream_events()]
    assert str(await handler) == "Done."
    given = {
        event.tool_name: (event.tool_kwargs, event.tool_output.raw_output)
        for event in events
        if isinstance(event, ToolCallResult)
    }
    assert given == {
        "weather": ({}, "weather in Berlin"),
        "product": ({"a": 10, "b": 20}, 200),
    }


@pytest.mark.parametrize("tools", [[], ()], ids=["list", "tuple"])
async def test_chats_with_no_tools_are_chats(tiny_engine, tools):
    llm = small_llm(tiny_engine)
    expected = engine_result(tiny_engine).text
    stream = await llm.astream_chat_with_tools(tools=tools, chat_history=CHAT)
    assert [response.message.content async for response in stream][-1] == expected
    assert llm.chat_with_tools(tools=tools, chat_history=CHAT).message.content == expected


@pytest.mark.parametrize("texts", [("",), ("", "")], ids=["one", "two"])
async def test_an_empty_stream_ends(texts):
    llm = scripted(*texts)
    assert [response.delta for response in llm.stream_chat(CHAT)] == [*texts]
    stream = await llm.astream_chat(CHAT)
    assert [response.message.content async for response in stream][-1] == ""
    assert llm.chat(CHAT).message.content == ""


@pytest.mark.parametrize("way", ["complete", "stream_complete"])
def test_a_prompt_may_be_given_by_place_or_by_name_and_not_by_both(tiny_engine, way):
    ask = getattr(small_llm(tiny_engine), way)

    def text(answer: Any) -> str:
        return answer.text if way == "complete" else "".join(part.delta for part in answer)

    expected = engine_result(tiny_engine).text
    assert text(ask(QUESTION)) == text(ask(prompt=QUESTION)) == expected
    with pytest.raises(TypeError, match="multiple values"):
        ask(QUESTION, prompt=QUESTION)
    with pytest.raises(TypeError, match="prompt"):
        ask()


@pytest.mark.parametrize("way", ["chat", "stream_chat"])
def test_messages_may_be_given_by_place_or_by_name_and_not_by_both(tiny_engine, way):
    ask = getattr(small_llm(tiny_engine), way)

    def text(answer: Any) -> str:
        last = answer if way == "chat" else list(answer)[-1]
        return str(last.message.content)

    assert text(ask(CHAT)) == text(ask(messages=CHAT)) == engine_result(tiny_engine).text
    with pytest.raises(TypeError, match="multiple values"):
        ask(CHAT, messages=CHAT)


@pytest.fixture
def callbacks():
    return Callbacks()


@pytest.fixture
def private(tmp_path, callbacks):
    return scripted(
        temperature=0.25,
        preference=ANN,
        profiles=f"sqlite:///{tmp_path}/{PASSWORD}.db",
        callback_manager=CallbackManager([callbacks]),
    )


def test_the_payload_of_callbacks_names_the_model_and_contains_no_secret(private):
    payload = private.to_payload()
    assert payload["model"] == payload["model_name"] == private.metadata.model_name
    assert payload["temperature"] == 0.25
    assert payload["class_name"] == AmuletLLM.class_name() == "AmuletLLM"
    assert not {"profiles", "preference", "preference_profile", "api_key"} & set(payload)
    assert PASSWORD not in str(payload)
    assert ANN not in str(payload)


def test_callbacks_are_given_that_payload(private, callbacks):
    private.complete(QUESTION)
    private.chat(CHAT)
    payloads = [
        payload[EventPayload.SERIALIZED]
        for kind, _, payload in callbacks.seen
        if kind == "start" and EventPayload.SERIALIZED in payload
    ]
    assert payloads == [private.to_payload()] * 2


ASKED: dict[str, tuple[Any, str]] = {
    "complete": (QUESTION, "Completion"),
    "stream_complete": (QUESTION, "Completion"),
    "acomplete": (QUESTION, "Completion"),
    "astream_complete": (QUESTION, "Completion"),
    "chat": (CHAT, "Chat"),
    "stream_chat": (CHAT, "Chat"),
    "achat": (CHAT, "Chat"),
    "astream_chat": (CHAT, "Chat"),
}


async def answered(llm: AmuletLLM, way: str) -> list[Any]:
    """The responses of a call, those of a stream one after the other."""
    answer = getattr(llm, way)(ASKED[way][0])
    if way.startswith("a"):
        answer = await answer
    if "astream" in way:
        return [response async for response in answer]
    return list(answer) if "stream" in way else [answer]


@pytest.mark.parametrize("way", ASKED)
async def test_each_method_fires_start_progress_and_end_events_in_one_span(events, way):
    argument, kind = ASKED[way]
    llm = scripted("Well", ", ", "yes.")
    responses = await answered(llm, way)
    progress = [f"LLM{kind}InProgressEvent"] * (3 if "stream" in way else 0)
    assert [event.class_name() for event in events] == [
        f"LLM{kind}StartEvent",
        *progress,
        f"LLM{kind}EndEvent",
    ]
    start, *growing, end = events
    assert (start.messages if kind == "Chat" else start.prompt) == argument
    assert start.model_dict == llm.to_payload()
    assert [event.response for event in growing] == (responses if growing else [])
    assert end.response == responses[-1]
    spans = {event.span_id for event in events}
    assert len(spans) == 1
    assert f"AmuletLLM.{way}" in spans.pop()


@pytest.mark.parametrize("way", ASKED)
async def test_two_calls_are_two_spans(events, way):
    llm = scripted()
    for _ in range(2):
        await answered(llm, way)
    assert len({event.span_id for event in events}) == 2


@pytest.mark.parametrize("way", ASKED)
async def test_writing_an_event_out_leaves_its_response_as_it_is(events, way):
    (*_, response) = await answered(scripted(), way)
    raw = response.raw
    kept = dict(raw)
    written = events[-1].model_dump()
    assert written["response"]["raw"] == kept
    assert response.raw == kept
    assert isinstance(response, ChatResponse | CompletionResponse)


def test_braces_in_messages_are_no_places_to_fill_in():
    llm = AmuletLLM(engine=AgentEngine(lambda _: '{"name": "Ann"}'))
    texts = ["test {message} {test}", '{"tests": [{"foo": "bar"}]}', "{{kept}} {test}"]
    for text in texts:
        answer = llm.as_structured_llm(Person).chat([ChatMessage(role="user", content=text)])
        assert answer.raw == Person(name="Ann")
        engine: Any = llm.engine
        assert text in engine.prompts()[-1]
