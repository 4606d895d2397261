"""The clients that people have: OpenAI's own, LangChain's and LlamaIndex's, over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Literal

import httpx
import openai
import pytest
from fastapi import FastAPI
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

from amulet_integrations.engine import GenerationRequest, LocalEngine
from amulet_integrations.engine.result import Increment
from amulet_integrations.errors import EngineOverloadedError
from amulet_integrations.langchain import ChatAmulet
from tests.support.scripted import ScriptedEngine
from tests.support.serving import serve_app
from tests.unit.serving.openai_api.conftest import ANN, make_app

QUESTION = "What is the sea?"
ASKED: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": QUESTION}]}


class Colour(BaseModel):
    """A colour."""

    colour: Literal["red", "blue"]


@tool
def add(a: Literal[1, 2], b: Literal[3]) -> int:
    """Adds two numbers."""
    return a + b


@pytest.fixture(scope="module")
def client(base_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{base_url}/v1", api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def expected(tiny_engine: LocalEngine) -> str:
    """What the wrapper answers for Ann."""
    oracle = ChatAmulet(engine=tiny_engine, profiles=None, max_tokens=8)
    return str(oracle.invoke(QUESTION, profile=ANN).content)


def test_openais_client_asks_and_streams(client: openai.OpenAI, expected: str):
    answer = client.chat.completions.create(**ASKED, user="ann")
    assert answer.choices[0].message.content == expected
    assert answer.amulet["user_id"] == "ann"  # type: ignore[attr-defined]
    chunks = list(
        client.chat.completions.create(
            **ASKED, user="ann", stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(it.choices[0].delta.content or "" for it in chunks if it.choices)
    assert text == expected
    assert chunks[-1].usage == answer.usage
    own = client.chat.completions.create(
        **ASKED, extra_body={"amulet": {"preference": "Be brief.", "explain": True}}
    )
    assert own.amulet["method"] == "amulet"  # type: ignore[attr-defined]
    assert len(own.amulet["tokens"]) == own.usage.completion_tokens  # type: ignore[attr-defined]


async def test_openais_async_client_asks_and_streams(base_url: str, expected: str):
    async with openai.AsyncOpenAI(base_url=f"{base_url}/v1", api_key="none") as client:
        answer = await client.chat.completions.create(**ASKED, user="ann")
        assert answer.choices[0].message.content == expected
        stream = await client.chat.completions.create(**ASKED, user="ann", stream=True)
        texts = [chunk.choices[0].delta.content or "" async for chunk in stream]
        assert "".join(texts) == expected


def test_openais_client_calls_tools_and_parses(client: openai.OpenAI):
    tools = [openai.pydantic_function_tool(Colour)]
    asked = {**ASKED, "tools": tools, "tool_choice": "required", "max_tokens": 120}
    with client.chat.completions.stream(**asked) as stream:
        final = stream.get_final_completion()
    (call,) = final.choices[0].message.tool_calls or ()
    assert final.choices[0].finish_reason == "tool_calls"
    assert isinstance(call.function.parsed_arguments, Colour)
    parsed = client.chat.completions.parse(**ASKED, response_format=Colour, max_tokens=60)
    assert isinstance(parsed.choices[0].message.parsed, Colour)


def test_openais_client_has_log_probabilities_and_several_answers(client: openai.OpenAI):
    answer = client.chat.completions.create(
        **ASKED, n=2, temperature=1.0, logprobs=True, top_logprobs=3, max_tokens=4
    )
    assert [it.index for it in answer.choices] == [0, 1]
    for choice in answer.choices:
        assert choice.logprobs is not None
        assert all(len(it.top_logprobs) == 3 for it in choice.logprobs.content or ())


def test_openais_client_lists_models_and_completes(client: openai.OpenAI):
    assert [it.id for it in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").id == "tiny"
    answer = client.completions.create(model="tiny", prompt="The sea", max_tokens=3, echo=True)
    assert answer.choices[0].text.startswith("The sea")


@pytest.mark.parametrize(
    ("change", "kind", "param"),
    [
        ({"model": "other"}, openai.NotFoundError, "model"),
        ({"temperature": -1}, openai.BadRequestError, "temperature"),
        ({"extra_body": {"temprature": 1}}, openai.BadRequestError, "temprature"),
        ({"temperature": -1, "stream": True}, openai.BadRequestError, "temperature"),
    ],
)
def test_openais_client_raises_its_own_errors(client, change, kind, param):
    with pytest.raises(kind) as raised:
        client.chat.completions.create(**{**ASKED, **change})
    assert raised.value.param == param


def test_langchains_client_asks_streams_calls_and_parses(base_url: str, expected: str):
    model = ChatOpenAI(
        model="tiny",
        base_url=f"{base_url}/v1",
        api_key="none",
        max_retries=0,
        max_tokens=120,
        stream_usage=True,
    )
    asking = model.bind(user="ann", max_tokens=8)
    answer = asking.invoke(QUESTION)
    assert answer.content == expected
    streamed = list(asking.stream(QUESTION))
    assert "".join(str(it.content) for it in streamed) == expected
    assert sum((it.usage_metadata or {}).get("total_tokens", 0) for it in streamed)
    called = model.bind_tools([add], tool_choice="required").invoke(QUESTION)
    (call,) = called.tool_calls
    assert call["args"] in ({"a": 1, "b": 3}, {"a": 2, "b": 3})
    for method in ("json_schema", "function_calling"):
        parsed = model.with_structured_output(Colour, method=method).invoke(QUESTION)
        assert isinstance(parsed, Colour)
    own = ChatOpenAI(
        model="tiny",
        base_url=f"{base_url}/v1",
        api_key="none",
        max_tokens=8,
        extra_body={"user": "ann", "amulet": {"method": "amulet"}},
    )
    assert own.invoke(QUESTION).content == expected


async def test_llama_indexs_client_asks_streams_and_calls(base_url: str, expected: str):
    llm = OpenAILike(
        model="tiny",
        api_base=f"{base_url}/v1",
        api_key="none",
        is_chat_model=True,
        is_function_calling_model=True,
        max_tokens=8,
        temperature=0.0,
        max_retries=0,
        additional_kwargs={"user": "ann"},
    )
    messages = [ChatMessage(role="user", content=QUESTION)]
    oracle = expected
    assert llm.chat(messages).message.content == oracle
    *_, last = llm.stream_chat(messages)
    assert last.message.content == oracle
    assert (await llm.achat(messages)).message.content == oracle
    llm.max_tokens = 120
    called = llm.chat_with_tools(
        [FunctionTool.from_defaults(fn=lambda colour: colour, name="paint", fn_schema=Colour)],
        user_msg=QUESTION,
        tool_required=True,
    )
    (call,) = llm.get_tool_calls_from_response(called)
    assert Colour(**call.tool_kwargs)


class RefusingTwice(ScriptedEngine):
    """Refuses its first two requests, as an engine with a full queue does."""

    refused = 0

    async def astream(self, request: GenerationRequest) -> Any:
        if self.refused < 2:
            self.refused += 1
            raise EngineOverloadedError("Too many requests are waiting.")
        async for increment in super().astream(request):
            yield increment


async def test_a_client_tries_again_after_429():
    engine = RefusingTwice()
    with serve_app(make_app(engine)) as url:
        async with openai.AsyncOpenAI(
            base_url=f"{url}/v1", api_key="none", max_retries=2
        ) as client:
            ask = client.chat.completions.create
            # At the same time, since both wait as long as the answer tells them to.
            whole, stream = await asyncio.gather(ask(**ASKED), ask(**ASKED, stream=True))
            chunks = [chunk async for chunk in stream]
    assert whole.choices[0].message.content
    assert "".join(it.choices[0].delta.content or "" for it in chunks)
    assert engine.refused == 2


class FailingMidway(ScriptedEngine):
    """Fails after two tokens."""

    async def astream(self, request: GenerationRequest) -> Any:
        yield Increment("a", (5,))
        yield Increment("b", (5,))
        raise EngineOverloadedError("Something broke midway.")


def test_an_error_after_the_first_token_ends_the_stream_and_the_client_raises_it():
    app: FastAPI = make_app(FailingMidway())
    with (
        serve_app(app) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
    ):
        stream = client.chat.completions.create(**ASKED, stream=True)
        texts = [next(stream).choices[0].delta.content for _ in range(2)]
        with pytest.raises(openai.APIError, match="broke midway"):
            next(stream)
        sent = httpx.post(f"{url}/v1/chat/completions", json={**ASKED, "stream": True}).text
    assert texts == ["a", "b"]
    assert '"error"' in sent.split("\n\n")[-2], "nothing follows the error, above all no [DONE]"
