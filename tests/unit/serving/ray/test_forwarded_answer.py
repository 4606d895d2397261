"""An application answers a request that was read elsewhere as it answers its own."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import httpx
import pytest

from amulet_integrations.serving.ray.forwarded_answer import answer_forwarded
from amulet_integrations.serving.ray.forwarded_request import ForwardedRequest
from tests.support.served.routes import make_app, until


def request(
    method: str, path: str, body: bytes = b"", address: str = "127.0.0.1"
) -> ForwardedRequest:
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")],
        "client": (address, 1),
        "server": ("127.0.0.1", 80),
    }
    return ForwardedRequest(scope, body)


@pytest.mark.parametrize(
    ("method", "path", "sent"),
    [
        ("POST", "/v1/try/echo", b'{"a": 1}'),
        ("POST", "/v1/try/echo", b"{"),
        ("POST", "/v1/try/raw", b"x" * 100_000),
        ("GET", "/v1/nothing", b""),
    ],
)
async def test_the_answer_is_the_same(tiny_engine, method, path, sent) -> None:
    app = make_app(tiny_engine)
    transport = httpx.ASGITransport(app)
    headers = {"content-type": "application/json"}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        expected = await http.request(method, path, content=sent, headers=headers)
    asked = request(method, path, sent)
    messages = [it async for batch in answer_forwarded(app, asked) for it in batch]
    assert messages[0]["status"] == expected.status_code
    assert b"".join(it["body"] for it in messages[1:]) == expected.content


@pytest.mark.parametrize(
    ("address", "status"), [("127.0.0.1", 200), ("::1", 200), ("192.0.2.7", 403)]
)
async def test_without_keys_this_machine_alone_is_served(tiny_engine, address, status) -> None:
    """Whatever address Ray Serve listens on."""
    for path in ("/v1/models", "/"):
        asked = request("GET", path, address=address)
        (first, *_), *_ = [it async for it in answer_forwarded(make_app(tiny_engine), asked)]
        assert first["status"] == status


async def test_the_application_learns_that_the_client_has_gone(tiny_engine) -> None:
    app = make_app(tiny_engine)
    answers = answer_forwarded(app, request("POST", "/v1/try/wait", b"{}"))
    waiting = asyncio.create_task(anext(answers))
    await asyncio.sleep(0.05)
    waiting.cancel()  # as Ray does
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await until(lambda: app.state.ended == ["wait"])


async def test_messages_come_as_they_are_sent(tiny_engine) -> None:
    app = make_app(tiny_engine)
    async with aclosing(answer_forwarded(app, request("GET", "/v1/try/stream"))) as answers:
        first = await anext(answers)
        assert first[0]["type"] == "http.response.start"
        app.state.release.set()
        rest = [it async for batch in answers for it in batch]
    assert not rest[-1].get("more_body", False)
