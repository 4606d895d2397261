"""What operators see of requests: ids, log lines, counters and spans; never a text."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.routing import Mount

from amulet_integrations.serving.access.key_file import KeyFile
from amulet_integrations.serving.operations.access_log import JSONFormatter
from tests.support.served.routes import SECRET, client_of, make_app, until

TRACE = "0af7651916cd43dd8448eb211c80319c"
USER = "ann-o-nymous"


class Log:
    """What a server writes to stderr."""

    def __init__(self) -> None:
        self._stream = io.StringIO()
        self.handler = logging.StreamHandler(self._stream)
        self.handler.setFormatter(JSONFormatter())

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    @property
    def lines(self) -> list[dict]:
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture
def log():
    log, logger = Log(), logging.getLogger("amulet_integrations.serving")
    before = logger.level
    logger.addHandler(log.handler)
    logger.setLevel(logging.INFO)
    yield log
    logger.removeHandler(log.handler)
    logger.setLevel(before)


@pytest.fixture(scope="module")
def all_spans():
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace, "_TRACER_PROVIDER", provider)
        yield exporter


@pytest.fixture
def spans(all_spans):
    all_spans.clear()
    return all_spans


def samples(text: str) -> dict[tuple[str, ...], float]:
    """Every sample by its name and its labels' values."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def make_breaking_app(engine, **settings):
    """An application with a route whose answer breaks off."""
    app = make_app(engine, **settings)

    @app.post("/v1/try/break")
    async def break_off() -> None:
        with app.state.amulet.metrics.answer_started("pref") as count:
            count.first_token()
            raise ValueError(SECRET)

    return app


async def ask(client: httpx.AsyncClient, **more: Any) -> dict[str, int]:
    """Asks a question and returns the usage of the answer."""
    body = {
        "model": "embedded",
        "messages": [{"role": "user", "content": SECRET}],
        "max_tokens": 5,
        "amulet": {"preference": SECRET},
        **more,
    }
    answer = await client.post(f"/v1/chat/completions?q={SECRET}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["usage"]


async def test_a_page_that_is_kept_away_is_in_the_log(tiny_engine, log):
    async with client_of(make_app(tiny_engine), Host="rebound.example") as client:
        assert (await client.get("/v1/models")).status_code == 403
    (line,) = log.lines
    assert (line["status"], line["code"]) == (403, "forbidden")


async def test_one_line_for_each_request_without_texts_and_users(tiny_engine, log, tmp_path):
    file = KeyFile(tmp_path / "keys.json")
    key = file.create(user_id=USER)
    app = make_app(tiny_engine, keys=file.path)
    headers = {"Authorization": f"Bearer {key.text}", "X-Request-Id": "my.id-1"}
    async with client_of(app, **headers) as client:
        usage = await ask(client, n=2, temperature=1.0)
        await client.get(f"/v1/try/refuse/{USER}")
        await client.get(f"/{USER}/{SECRET}")
        await client.get("/healthz")
    answered, refused, unknown = log.lines
    assert answered["request_id"] == "my.id-1"
    assert answered["key"] == key.text.split("-")[1]
    expected = {
        "level": "info",
        "method": "POST",
        "route": "/v1/chat/completions",
        "status": 200,
        "applied_methods": ["amulet", "amulet"],
        "finish_reasons": ["length", "length"],
        "completion_tokens": usage["completion_tokens"],
    }
    assert answered.items() >= expected.items()
    assert answered["ms"] >= 0
    assert (refused["route"], refused["status"]) == ("/v1/try/refuse/{user_id}", 500)
    assert refused["code"] == "generation_failed"
    assert (unknown["route"], unknown["status"]) == ("unmatched", 404)
    for private in (SECRET, USER, key.text, "127.0.0.1"):
        assert private not in log.text


@pytest.mark.parametrize(
    ("given", "is_kept"),
    [
        ("b7e1:2.3_4-5", True),
        ("x" * 128, True),
        ("x" * 129, False),
        ("two words", False),
        ('"},{"level":"x', False),
        ("\x1b[31mred", False),
        ("", False),
    ],
)
async def test_the_answer_has_the_requests_id_or_a_new_one(tiny_engine, given, is_kept):
    app = make_app(tiny_engine)
    async with client_of(app) as client:
        headers = {"X-Request-Id": given.encode()}
        answers = [await client.get(route, headers=headers) for route in ("/healthz", "/nope")]
    ids = [it.headers["x-request-id"] for it in answers]
    assert (ids == [given, given]) == is_kept
    assert all(ids)


async def test_an_unexpected_error_is_answered_and_logged_without_its_message(tiny_engine, log):
    app = make_app(tiny_engine)
    async with client_of(app) as client:
        answer = await client.get("/v1/try/fail")
    assert answer.status_code == 500
    assert answer.json()["error"]["type"] == "server_error"
    event, line = log.lines
    assert event["failure"] == line["failure"] == "ValueError"
    assert event["request_id"] == answer.headers["x-request-id"]
    assert "routes.py" in event["frames"][-1]
    assert SECRET not in log.text + answer.text


def test_messages_of_exceptions_stay_out_of_the_log(log):
    try:
        int(SECRET)
    except ValueError as error:
        # As asyncio writes of tasks whose errors nobody reads.
        message = f"It failed.\nfuture: <Task finished exception={error!r}>"
        logging.getLogger("amulet_integrations.serving.x").exception(message)
    (line,) = log.lines
    assert (line["message"], line["failure"]) == ("It failed.", "ValueError")
    assert SECRET not in log.text


async def test_metrics_count_requests_answers_tokens_and_refusals(tiny_engine):
    app = make_breaking_app(tiny_engine, max_body_size=1000, max_streams=1)
    async with client_of(app) as client:
        usages = [await ask(client), await ask(client)]
        await client.post("/v1/try/break")
        await client.post("/v1/chat/completions", content=b"x" * 1001)
        for path in ("/a", "/b/c", "/v1/zzz"):
            await client.request("BREW", path)
        held = asyncio.create_task(client.get("/v1/try/wait"))
        await until(lambda: len(app.state.amulet.running) == 1)
        await client.get("/v1/try/wait")
        answer = await client.get("/metrics")
        app.state.release.set()
        await held
    assert answer.headers["content-type"].startswith("text/plain")
    found = samples(answer.text)
    expected = {
        ("amulet_http_requests_total", "POST", "/v1/chat/completions", "200"): 2,
        ("amulet_http_requests_total", "POST", "/v1/try/break", "500"): 1,
        ("amulet_http_requests_total", "other", "unmatched", "404"): 3,
        ("amulet_http_requests_in_flight",): 2,
        ("amulet_answers_total", "length", "amulet"): 2,
        ("amulet_answers_total", "error", "pref"): 1,
        ("amulet_prompt_tokens_total",): sum(it["prompt_tokens"] for it in usages),
        ("amulet_generation_tokens_total",): sum(it["completion_tokens"] for it in usages),
        ("amulet_time_to_first_token_seconds_count", "amulet"): 2,
        ("amulet_time_to_first_token_seconds_count", "pref"): 1,
        ("amulet_e2e_request_latency_seconds_count", "amulet"): 2,
        ("amulet_refusals_total", "body_too_large"): 1,
        ("amulet_refusals_total", "rate_limit_exceeded"): 1,
        ("amulet_num_requests_running",): 0,
        ("amulet_num_requests_prefilling",): 0,
        ("amulet_num_requests_waiting",): 0,
    }
    assert {name: found.get(name) for name in expected} == expected
    assert "zzz" not in answer.text


async def test_an_answer_that_is_cancelled_counts_as_cancelled(tiny_engine):
    app = make_app(tiny_engine)
    metrics = app.state.amulet.metrics

    async def answer():
        with metrics.answer_started("base"):
            await asyncio.sleep(60)

    task = asyncio.create_task(answer())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert samples(metrics.page().decode())["amulet_answers_total", "cancelled", "base"] == 1


async def test_one_span_for_each_request_within_the_callers_trace(tiny_engine, spans):
    app = make_app(tiny_engine)
    async with client_of(app, traceparent=f"00-{TRACE}-b7ad6b7169203331-01") as client:
        usage = await ask(client)
        await client.get(f"/v1/try/refuse/{USER}")
    answered, refused = spans.get_finished_spans()
    assert f"{answered.context.trace_id:032x}" == TRACE
    assert (answered.name, answered.kind) == ("POST /v1/chat/completions", trace.SpanKind.SERVER)
    assert answered.status.is_ok
    expected = {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "embedded",
        "gen_ai.usage.input_tokens": usage["prompt_tokens"],
        "gen_ai.usage.output_tokens": usage["completion_tokens"],
        "gen_ai.response.finish_reasons": ("length",),
        "server.address": "127.0.0.1",
    }
    assert answered.attributes.items() >= expected.items()
    assert refused.status.status_code is trace.StatusCode.ERROR
    assert refused.attributes["error.type"] == "500"
    written = "".join(span.to_json() for span in spans.get_finished_spans())
    assert SECRET not in written
    assert USER not in written


@pytest.mark.parametrize("prefix", ["", "/assistant"])
async def test_what_machines_ask_every_few_seconds_has_no_span(tiny_engine, spans, prefix):
    app = Starlette(routes=[Mount(prefix, make_app(tiny_engine))])
    async with client_of(app) as client:
        for route in ("/healthz", "/readyz", "/metrics"):
            assert (await client.get(prefix + route)).status_code in {200, 503}
        await client.get(f"{prefix}/v1/models")
    assert [span.attributes["http.route"] for span in spans.get_finished_spans()] == ["/v1/models"]


async def test_spans_of_odd_requests_have_none_of_their_texts(tiny_engine, spans):
    names = [f"/v1/profiles/{SECRET}%00", f"/{SECRET}", f"/v1/me?x={SECRET}", "/v1/completions"]
    headers = [
        {"traceparent": SECRET, "tracestate": SECRET},
        {"traceparent": f"00-{'0' * 32}-{'0' * 16}-01", "baggage": f"user={SECRET}"},
        {"traceparent": "00-" * 2_000, "X-Request-Id": SECRET, "User-Agent": SECRET},
        {"baggage": ",".join(f"k{it}={SECRET}" for it in range(200)), "b3": SECRET},
    ]
    async with client_of(make_app(tiny_engine)) as client:
        for name, more in zip(names, headers, strict=True):
            for method in ("GET", SECRET.partition(" ")[0].upper(), "POST"):
                await client.request(method, name, headers=more, content=SECRET)
    found = spans.get_finished_spans()
    assert len(found) == 12
    for span in found:
        assert SECRET not in span.to_json()
        assert quote(SECRET) not in span.to_json()
        assert span.name.split()[0] in {"GET", "POST", "other"}


async def test_an_unexpected_error_ends_its_span_without_its_message(tiny_engine, spans):
    app = make_app(tiny_engine)
    async with client_of(app) as client:
        await client.get("/v1/try/fail")
    (span,) = spans.get_finished_spans()
    assert span.attributes["error.type"] == "ValueError"
    assert not span.events
    assert SECRET not in span.to_json()
