"""Many clients at once, through real sockets: nobody hangs, nothing grows, all is freed."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from amulet_integrations.engine import LocalEngine
from amulet_integrations.langchain import ChatAmulet
from amulet_integrations.serving import ServerSettings, create_app
from tests.support import tiny
from tests.support.served.routes import until
from tests.support.serving import serve_app

CLIENTS = 200
TOKENS = 12
QUESTIONS = ["What is the sea?", "Be brief.", "You are helpful.", "Is the sea blue?"]
PREFERENCE = "Be brief."
MOST_MORE_THREADS = 50  # the pools' own bounds
MOST_MORE_MEGABYTES = 150


@pytest.fixture(scope="module")
def engine():
    """An engine of its own, whose queue and prefixes the test may fill."""
    with tiny.tiny_engine() as engine:
        yield engine


@pytest.fixture(scope="module")
def expected(engine):
    chat = ChatAmulet(engine=engine, max_tokens=TOKENS, preference=PREFERENCE, profiles=None)
    return dict(zip(QUESTIONS, [it.content for it in chat.batch(QUESTIONS)], strict=True))


@asynccontextmanager
async def serving(engine: LocalEngine, **settings: Any):
    app = create_app(ServerSettings(**{"profiles": None, **settings}), engine=engine)
    limits = httpx.Limits(max_connections=None)
    with serve_app(app) as url:
        async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:
            yield client, app.state.amulet


def body_of(question: str, **changes: Any) -> dict[str, Any]:
    return {
        "model": "embedded",
        "messages": [{"role": "user", "content": question}],
        "max_tokens": TOKENS,
        "stream": True,
        "amulet": {"preference": PREFERENCE},
        **changes,
    }


async def ask(client: httpx.AsyncClient, question: str) -> str | None:
    """The text of a streamed answer; None if the request was refused with 429."""
    request = client.stream("POST", "/v1/chat/completions", json=body_of(question))
    async with request as answer:
        if answer.status_code == 429:
            assert int(answer.headers["retry-after"]) >= 1
            assert json.loads(await answer.aread())["error"]["type"] == "rate_limit_error"
            return None
        assert answer.status_code == 200, await answer.aread()
        text = (await answer.aread()).decode()
    events = [it.removeprefix("data: ") for it in text.split("\n\n") if it]
    assert events.pop() == "[DONE]"
    deltas = [choice["delta"] for it in events for choice in json.loads(it)["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


def megabytes() -> float:
    """The memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


@pytest.mark.parametrize("settings", [{}, {"max_streams": CLIENTS}])
async def test_all_of_200_streams_get_a_right_answer_or_a_429(engine, expected, settings):
    async with serving(engine, **settings) as (client, _):
        await ask(client, QUESTIONS[0])
        threads, memory = threading.active_count(), megabytes()
        questions = [QUESTIONS[number % len(QUESTIONS)] for number in range(CLIENTS)]
        async with asyncio.timeout(120):
            answers = await asyncio.gather(*(ask(client, it) for it in questions))
        assert threading.active_count() - threads <= MOST_MORE_THREADS
        assert megabytes() - memory < MOST_MORE_MEGABYTES
        for question, answer in zip(questions, answers, strict=True):
            assert answer in (None, expected[question])
        served = sum(answer is not None for answer in answers)
        assert served == CLIENTS if "max_streams" in settings else served >= 60
        await until(lambda: engine.stats.is_idle)
        assert await ask(client, QUESTIONS[1]) == expected[QUESTIONS[1]]


async def counts(client: httpx.AsyncClient) -> dict[str, float]:
    page = (await client.get("/metrics")).text
    families = text_string_to_metric_families(page)
    (answers,) = (it for it in families if it.name == "amulet_answers")
    return {
        it.labels["finish_reason"]: it.value
        for it in answers.samples
        if it.name == "amulet_answers_total"
    }


@pytest.mark.parametrize("stream", [True, False])
async def test_100_clients_that_hang_up_midway_leave_the_engine_free(engine, expected, stream):
    async def begin_and_leave(client: httpx.AsyncClient) -> None:
        body = body_of("Tell me of the sea.", max_tokens=500, stream=stream)
        async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            async for _ in answer.aiter_raw():
                await asyncio.sleep(60)

    async with serving(engine, max_streams=100) as (client, server):
        tasks = [asyncio.create_task(begin_and_leave(client)) for _ in range(100)]
        await until(lambda: len(server.running) == 100 and engine.stats.running > 8)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await until(lambda: engine.stats.is_idle)
        # What waited for its first token has no answer yet; how many had one, the machine decides.
        assert (await counts(client))["cancelled"] > 0
        assert await ask(client, QUESTIONS[2]) == expected[QUESTIONS[2]]
