"""Clients that go away: the engine is free at its next step, whatever they were waiting for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from amulet_integrations.concurrency.deadline import Deadline
from amulet_integrations.engine import GenerationRequest, LocalEngine
from amulet_integrations.engine.result import Increment
from amulet_integrations.prompting.openai_compat.schema_check import SchemaCheck
from tests.support.scripted import ScriptedEngine
from tests.support.served.routes import until
from tests.support.serving import serve_app
from tests.unit.serving.openai_api.conftest import make_app

ASKED: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}


class Endless(ScriptedEngine):
    """Writes for ever, after some seconds.

    Args:
        seconds: How long the first token takes.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__(None)
        self._seconds = seconds

    async def astream(self, request: GenerationRequest) -> AsyncGenerator[Increment, None]:
        self.running += 1
        try:
            await asyncio.sleep(self._seconds)
            while True:
                yield Increment("a", (5,))
                await asyncio.sleep(0.001)
        finally:
            self.running -= 1


@pytest.mark.parametrize("choices", [1, 2])
@pytest.mark.parametrize(
    ("stream", "seconds"), [(True, 0.0), (True, 60.0), (False, 0.0), (False, 60.0)]
)
async def test_the_engine_is_free_when_the_client_is_gone(
    stream: bool, seconds: float, choices: int
):
    engine = Endless(seconds)
    with serve_app(make_app(engine)) as url:
        async with httpx.AsyncClient(base_url=url) as client:
            body = {**ASKED, "stream": stream, "n": choices}
            asking = asyncio.create_task(read_three_events(client, body))
            await until(lambda: engine.running == choices)
            if stream and not seconds:
                await asking
            else:
                asking.cancel()
            await until(lambda: engine.running == 0)
            health = await client.get("/healthz")
            assert health.status_code == 200


async def read_three_events(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    """Hangs up after three events."""
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        seen = 0
        async for line in response.aiter_lines():
            seen += line.startswith("data: ")
            if seen == 3:
                return


async def test_a_request_that_takes_too_long_fails_with_504(tiny_engine: LocalEngine):
    transport = httpx.ASGITransport(app=make_app(tiny_engine, timeout=0.001))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        for stream in (False, True):
            asked = {**ASKED, "max_tokens": 128, "stream": stream}
            answer = await client.post("/v1/chat/completions", json=asked)
            assert answer.status_code == 504
            assert answer.json()["error"]["code"] == "timeout"


async def test_large_schemas_are_read_on_a_thread_within_the_deadline(monkeypatch):
    read: list[tuple[threading.Thread, float | None]] = []
    run = SchemaCheck.run

    def noted(check: SchemaCheck, deadline: Deadline | None = None, *more: Any) -> None:
        read.append((threading.current_thread(), deadline and deadline.timeout))
        run(check, deadline, *more)

    monkeypatch.setattr(SchemaCheck, "run", noted)
    texts = {f"p{at}": {"type": "string", "minLength": 2} for at in range(40)}
    schema = {"type": "object", "properties": texts}
    tools = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    transport = httpx.ASGITransport(app=make_app(ScriptedEngine(), timeout=77.0))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        answer = await client.post("/v1/chat/completions", json={**ASKED, "tools": tools})
    assert answer.status_code == 200, answer.text
    assert read
    assert all(it is not threading.current_thread() and most == 77.0 for it, most in read)
