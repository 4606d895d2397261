"""Engines that fail: their clients get an error in OpenAI's form, and all others their answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from amulet_integrations.engine import GenerationRequest
from amulet_integrations.engine.result import Increment, TokenLogprob
from amulet_integrations.errors import EngineClosedError, GenerationError
from tests.support.scripted import ScriptedEngine
from tests.support.served.routes import client_of

from .conftest import make_app

SECRET = "what somebody has written"
FAILURES = {
    "raises": (RuntimeError(SECRET), 500, "internal_error"),
    "runs out of memory": (MemoryError(SECRET), 500, "internal_error"),
    "fails": (GenerationError("Decoding failed."), 500, "generation_failed"),
    "closes": (EngineClosedError("The engine was closed."), 503, "shutting_down"),
    "stops short": (None, 500, "generation_failed"),
}


class FailingEngine(ScriptedEngine):
    """Fails in the way that the last word of the prompt names, after some increments."""

    def __init__(self, after: int) -> None:
        super().__init__(["Well", ", ", "yes", "."])
        self.after = after

    async def astream(self, request: GenerationRequest) -> AsyncGenerator[Increment, None]:
        prompt = self.tokenizer.decode(request.contexts[0])
        failure = next((it for it in FAILURES if f"It {it}" in prompt), None)
        count = 0
        async for increment in super().astream(request):
            if failure is not None and count == self.after:
                if (error := FAILURES[failure][0]) is not None:
                    raise error
                return
            count += 1
            yield increment


async def ask(client: httpx.AsyncClient, text: str, **body: Any) -> httpx.Response:
    messages = [{"role": "user", "content": text}]
    return await client.post(
        "/v1/chat/completions", json={"model": "tiny", "messages": messages, **body}
    )


@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("failure", FAILURES)
async def test_a_failure_is_one_requests_alone(failure, stream, after, caplog):
    _, status, code = FAILURES[failure]
    engine = FailingEngine(after)
    async with asyncio.timeout(20), client_of(make_app(engine)) as client:
        answers = [
            ask(client, f"It {failure}", stream=stream),
            ask(client, f"It {failure}", stream=stream, n=2, temperature=1),
            *(ask(client, "Hi", stream=stream) for _ in range(3)),
        ]
        *failed, one, two, three = await asyncio.gather(*answers)
    for it in failed:
        if stream and after:
            assert it.status_code == 200
            *_, last, end = it.text.split("\n\n")
            assert end == ""
            error = json.loads(last.removeprefix("data: "))["error"]
        else:
            assert it.status_code == status
            error = it.json()["error"]
        assert error["code"] == code
        assert "[DONE]" not in it.text
        assert SECRET not in it.text
    for it in (one, two, three):
        assert it.status_code == 200
        assert ("[DONE]" in it.text) is stream
    assert engine.running == 0
    assert SECRET not in caplog.text


class OddEngine(ScriptedEngine):
    """Its log-probabilities are no numbers."""

    async def astream(self, request: GenerationRequest) -> AsyncGenerator[Increment, None]:
        odd = (
            TokenLogprob(5, "a", float("nan")),
            TokenLogprob(5, "a", float("-inf")),
            TokenLogprob(5, "a", float("inf")),
        )
        async for increment in super().astream(request):
            yield replace(increment, logprobs=odd)


@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_no_number_breaks_no_clients_json(stream):
    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is no JSON")

    async with client_of(make_app(OddEngine())) as client:
        answer = await ask(client, "Hi", logprobs=True, stream=stream)
    assert answer.status_code == 200
    events = answer.text.split("\n\n") if stream else [answer.text]
    for event in events:
        if event and "[DONE]" not in event:
            json.loads(event.removeprefix("data: "), parse_constant=refuse)
