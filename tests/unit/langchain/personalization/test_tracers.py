"""What LangSmith and OpenTelemetry's exporters are sent, by the real clients of both."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langsmith import Client, tracing_context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from amulet_integrations import PreferenceProfile, preference_scope
from amulet_integrations.errors import AmuletError
from amulet_integrations.langchain import ChatAmulet
from tests.unit.langchain.conftest import TASTES

SECRET = "my quiet allergy"
QUESTION = "What is the sea?"
PROFILE = PreferenceProfile(user_id="zoe", preferences=[{"text": SECRET, "name": "food"}])
LIMITS = {
    "use_multipart_endpoint": False,
    "size_limit": 100,
    "size_limit_bytes": 20_000_000,
    "scale_up_qsize_trigger": 1_000,
    "scale_up_nthreads_limit": 1,
    "scale_down_nempty_trigger": 4,
}

Make = Callable[..., ChatAmulet]


class Endpoint:
    """LangSmith's HTTP endpoint on this machine, and what it was sent."""

    def __init__(self) -> None:
        self.bodies: list[str] = []
        bodies = self.bodies

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer({"version": "0", "batch_ingest_config": LIMITS})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                is_packed = self.headers.get("Content-Encoding") == "gzip"
                bodies.append((gzip.decompress(body) if is_packed else body).decode())
                self.answer({})

            def answer(self, told: dict[str, Any]) -> None:
                body = json.dumps(told).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def runs(self) -> dict[str, dict[str, Any]]:
        """The runs by their names, each put together of what was sent of it."""
        parts: dict[str, dict[str, Any]] = {}
        for body in map(json.loads, self.bodies):
            for part in (*body.get("post", ()), *body.get("patch", ())):
                parts.setdefault(part["id"], {}).update(
                    {name: value for name, value in part.items() if value}
                )
        return {run["name"]: run for run in parts.values()}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint()
    yield endpoint
    endpoint.server.shutdown()
    endpoint.server.server_close()


@pytest.fixture(scope="module")
def langsmith(endpoint: Endpoint) -> Iterator[Client]:
    client = Client(api_url=endpoint.url, api_key="none")
    yield client
    client.cleanup()


@pytest.fixture
def sent(endpoint: Endpoint, langsmith: Client) -> Iterator[Callable[[], str]]:
    """Traces what is called, and returns what LangSmith was sent of it."""

    def told() -> str:
        langsmith.flush()
        return "".join(endpoint.bodies)

    endpoint.bodies.clear()
    with tracing_context(enabled=True, client=langsmith):
        yield told


@pytest.mark.parametrize(
    "given",
    [{"preference": SECRET}, {"profile": PROFILE}, {"user_id": "ann"}],
    ids=["preference", "profile", "user_id"],
)
async def test_langsmith_is_told_the_user_and_no_preference(
    chat: Make, sent: Callable[[], str], endpoint: Endpoint, given: dict[str, Any]
) -> None:
    """However the user was named and the model called, also where the call fails."""
    llm = chat()
    llm.invoke(QUESTION, **given)
    list(llm.stream(QUESTION, **given))
    await llm.ainvoke(QUESTION, **given)
    with preference_scope(**given):
        llm.batch([QUESTION])
    chat(**given).invoke(QUESTION)
    with suppress(AmuletError):
        llm.invoke("word " * 900, **given)
    told = sent()
    assert told.count(QUESTION) >= 5  # it was listening
    assert "ContextLengthError" in told
    assert SECRET not in told
    assert TASTES["ann"] not in told
    personal = endpoint.runs["ChatAmulet"]["extra"]["invocation_params"]["personalization"]
    (way,) = given
    assert personal["user_id"] == {"preference": None, "profile": "zoe", "user_id": "ann"}[way]
    assert personal["preferences"] == [
        {"weight": 1.0, "name": "food" if way == "profile" else None}
    ]


def test_a_chain_of_a_user_is_one_trace_with_its_tokens(
    chat: Make, sent: Callable[[], str], endpoint: Endpoint
) -> None:
    prompt = ChatPromptTemplate.from_messages([("human", "What is {thing}?")])
    chain = prompt | chat() | StrOutputParser()
    answer = chain.invoke({"thing": "the sea"}, {"configurable": {"user_id": "ann"}})
    assert TASTES["ann"] not in sent()
    runs = endpoint.runs
    assert {*runs} == {"RunnableSequence", "ChatPromptTemplate", "ChatAmulet", "StrOutputParser"}
    assert len({run["trace_id"] for run in runs.values()}) == 1
    model = runs["ChatAmulet"]
    assert model["extra"]["metadata"]["user_id"] == "ann"
    assert model["extra"]["metadata"]["ls_provider"] == "amulet"
    written = model["outputs"]["generations"][0][0]
    assert written["text"] == answer
    assert written["message"]["kwargs"]["usage_metadata"]["output_tokens"] == 8


def test_texts_that_are_hidden_stay_at_home(chat: Make, endpoint: Endpoint) -> None:
    endpoint.bodies.clear()
    client = Client(api_url=endpoint.url, api_key="none", hide_inputs=True, hide_outputs=True)
    with tracing_context(enabled=True, client=client):
        answer = chat().invoke(QUESTION, user_id="ann")
    client.flush()
    client.cleanup()
    told = "".join(endpoint.bodies)
    assert "ChatAmulet" in told
    assert QUESTION not in told
    assert json.dumps(answer.text)[1:-1] not in told


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(spans: InMemorySpanExporter) -> TracerProvider:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return provider


def test_langsmiths_spans_hold_no_preference(
    chat: Make, spans: InMemorySpanExporter, provider: TracerProvider
) -> None:
    client = Client(api_key="none", tracing_mode="otel", otel_tracer_provider=provider)
    with tracing_context(enabled=True, client=client):
        chat().invoke(QUESTION, {"configurable": {"user_id": "ann"}})
        list(chat().stream(QUESTION, preference=SECRET))
    client.flush()
    client.cleanup()
    found = spans.get_finished_spans()
    assert [span.name for span in found] == ["ChatAmulet", "ChatAmulet"]
    assert [span.attributes["gen_ai.usage.output_tokens"] for span in found] == [8, 8]
    applied = [span.attributes["langsmith.metadata.personalization"] for span in found]
    assert {json.loads(each)["user_id"] for each in applied} == {"ann", None}
    told = "".join(span.to_json() for span in found)
    assert QUESTION in told
    assert SECRET not in told
    assert TASTES["ann"] not in told


def test_openinferences_spans_hold_no_preference(
    chat: Make, spans: InMemorySpanExporter, provider: TracerProvider
) -> None:
    """Of both frameworks at once, as a service that has both is instrumented."""
    from llama_index.core.llms import ChatMessage
    from openinference.instrumentation.langchain import LangChainInstrumentor
    from openinference.instrumentation.llama_index import LlamaIndexInstrumentor

    from amulet_integrations.llama_index import AmuletLLM

    llm = chat()
    model = AmuletLLM(engine=llm.engine, profiles=llm.profiles, max_tokens=8)
    instrumentors = (LangChainInstrumentor(), LlamaIndexInstrumentor())
    for each in instrumentors:
        each.instrument(tracer_provider=provider)
    try:
        llm.invoke(QUESTION, user_id="ann")
        llm.invoke(QUESTION, preference=SECRET)
        model.complete(QUESTION, user_id="ann")
        list(model.stream_chat([ChatMessage(content=QUESTION)], preference=SECRET))
        with preference_scope(preference=SECRET):
            model.complete(QUESTION)
    finally:
        for each in instrumentors:
            each.uninstrument()
    found = [
        span
        for span in spans.get_finished_spans()
        if span.attributes["openinference.span.kind"] == "LLM"
    ]
    assert {span.name.partition(".")[0] for span in found} == {"ChatAmulet", "AmuletLLM"}
    assert any(span.attributes.get("llm.token_count.completion") == 8 for span in found)
    told = "".join(span.to_json() for span in found)
    assert QUESTION in told
    assert SECRET not in told
    assert TASTES["ann"] not in told
