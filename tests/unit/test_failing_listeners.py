"""Callbacks and handlers of a program that raise: other requests go on as if nothing was."""

from __future__ import annotations

import asyncio

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from llama_index.core.callbacks import CallbackManager
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler

from amulet_integrations.langchain import ChatAmulet
from amulet_integrations.llama_index import AmuletLLM
from tests.unit.llama_index.recorders import Callbacks


def fail(*_, **__):
    raise RuntimeError("A listener fails.")


class FailingCallback(BaseCallbackHandler):
    on_llm_new_token = on_llm_end = fail

    def __init__(self, *, raise_error):
        self.raise_error = raise_error


class FailingAsyncCallback(AsyncCallbackHandler):
    on_llm_new_token = on_llm_end = fail

    def __init__(self, *, raise_error):
        self.raise_error = raise_error


class FailingEvents(BaseEventHandler):
    def handle(self, event, **kwargs):
        fail()


class FailingCallbacks(Callbacks):
    on_event_end = fail


@pytest.fixture
def other(tiny_engine):
    """Another request, which runs meanwhile and must not notice."""
    chat = ChatAmulet(engine=tiny_engine, max_tokens=60)
    expected = chat.invoke("Why?").text
    stream = chat.stream("Why?")
    beginning = next(stream).text
    yield
    assert beginning + "".join(chunk.text for chunk in stream) == expected
    assert chat.invoke("Why?").text == expected


async def read(stream):
    return "".join([chunk.text async for chunk in stream])


WAYS = {
    "invoke": lambda llm: llm.invoke("Hi").text,
    "stream": lambda llm: "".join(chunk.text for chunk in llm.stream("Hi")),
    "ainvoke": lambda llm: asyncio.run(llm.ainvoke("Hi")).text,
    "astream": lambda llm: asyncio.run(read(llm.astream("Hi"))),
}


@pytest.mark.parametrize("raise_error", [False, True])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.usefixtures("other")
def test_a_callback_of_langchain(tiny_engine, way, raise_error):
    kind = FailingAsyncCallback if way.startswith("a") else FailingCallback
    plain = ChatAmulet(engine=tiny_engine, max_tokens=8)
    llm = plain.model_copy(update={"callbacks": [kind(raise_error=raise_error)]})
    if raise_error:
        with pytest.raises(RuntimeError, match=r"A listener fails\."):
            WAYS[way](llm)
    else:
        assert WAYS[way](llm) == WAYS[way](plain)


@pytest.fixture
def failing_events():
    dispatcher = get_dispatcher()
    before = list(dispatcher.event_handlers)
    dispatcher.add_event_handler(FailingEvents())
    yield
    dispatcher.event_handlers = before


async def aread(llm):
    return [response.text async for response in await llm.astream_complete("Hi")][-1]


LLAMA_WAYS = {
    "complete": lambda llm: llm.complete("Hi").text,
    "stream_complete": lambda llm: [response.text for response in llm.stream_complete("Hi")][-1],
    "acomplete": lambda llm: asyncio.run(llm.acomplete("Hi")).text,
    "astream_complete": lambda llm: asyncio.run(aread(llm)),
}


@pytest.mark.parametrize("way", LLAMA_WAYS)
@pytest.mark.usefixtures("other", "failing_events")
def test_an_event_handler_of_llama_index(tiny_engine, way):
    llm = AmuletLLM(engine=tiny_engine, max_tokens=8)
    assert LLAMA_WAYS[way](llm) == ChatAmulet(engine=tiny_engine, max_tokens=8).invoke("Hi").text


@pytest.mark.parametrize("way", LLAMA_WAYS)
@pytest.mark.usefixtures("other")
def test_a_callback_of_llama_index(tiny_engine, way):
    manager = CallbackManager([FailingCallbacks()])
    llm = AmuletLLM(engine=tiny_engine, max_tokens=8, callback_manager=manager)
    with pytest.raises(RuntimeError, match=r"A listener fails\."):
        LLAMA_WAYS[way](llm)
