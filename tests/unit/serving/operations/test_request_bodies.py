"""Bodies that are too large or come too slowly, and what becomes of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.served.routes import client_of, make_app

MOST = 1000


async def chunks(size: int, *, pause: float = 0.0) -> AsyncIterator[bytes]:
    """A body without a length."""
    yield b'{"a": "'
    for _ in range(0, size, 100):
        await asyncio.sleep(pause)
        yield b"x" * 100
    yield b'"}'


@pytest.mark.parametrize("route", ["echo", "raw"])
@pytest.mark.parametrize("in_chunks", [False, True])
async def test_a_body_that_is_too_large_is_refused_in_openais_form(tiny_engine, route, in_chunks):
    app = make_app(tiny_engine, max_body_size=MOST)
    body = chunks(2 * MOST) if in_chunks else b"x" * (MOST + 1)
    async with client_of(app) as client:
        answer = await client.post(f"/v1/try/{route}", content=body)
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "body_too_large"
    assert f"{MOST:,} bytes" in answer.json()["error"]["message"]


@pytest.mark.parametrize("in_chunks", [False, True])
async def test_a_body_of_exactly_the_most_is_taken(tiny_engine, in_chunks):
    app = make_app(tiny_engine, max_body_size=909)
    body = chunks(900) if in_chunks else b"x" * 909
    async with client_of(app) as client:
        answer = await client.post("/v1/try/raw", content=body)
    assert answer.json() == {"bytes": 909}


@pytest.mark.parametrize("route", ["echo", "raw"])
async def test_a_body_that_comes_too_slowly_is_refused(tiny_engine, route):
    app = make_app(tiny_engine, receive_timeout=0.05)
    async with client_of(app) as client:
        answer = await client.post(f"/v1/try/{route}", content=chunks(5000, pause=0.01))
    assert answer.status_code == 408
    assert answer.json()["error"]["code"] == "slow_request"
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("length", ["-1", "abc", "1e9", "٣"])
async def test_a_length_that_is_no_number_bounds_nothing(tiny_engine, length):
    app = make_app(tiny_engine, max_body_size=MOST)
    async with client_of(app) as client:
        answer = await client.post(
            "/v1/try/raw", content=chunks(2 * MOST), headers={"Content-Length": length.encode()}
        )
    assert answer.status_code == 413
