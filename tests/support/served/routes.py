"""An application with routes for tests of what surrounds routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from amulet_integrations.errors import GenerationError
from amulet_integrations.serving import ServerSettings, create_app

if TYPE_CHECKING:
    from amulet_integrations.engine import LocalEngine

CHUNK = b"data: " + b"x" * 65_536 + b"\n\n"
SECRET = "a text of a user's"


def make_app(engine: LocalEngine, **settings: Any) -> FastAPI:
    """The server's application; below /v1/try are routes that do one thing each."""
    app = create_app(ServerSettings(**{"profiles": None, **settings}), engine=engine)
    app.state.release = asyncio.Event()
    app.state.begun = []
    app.state.ended = []

    @app.post("/v1/try/echo")
    async def echo(body: dict[str, Any]) -> dict[str, int]:
        return {"keys": len(body)}

    @app.post("/v1/try/raw")
    async def raw(request: Request) -> dict[str, int]:
        return {"bytes": len(await request.body())}

    @app.get("/v1/try/wait")
    async def wait() -> dict[str, str]:
        app.state.begun.append("wait")
        await app.state.release.wait()
        return {"waited": "yes"}

    @app.post("/v1/try/wait")
    async def wait_with_body(_body: dict[str, Any]) -> dict[str, str]:
        try:
            await asyncio.sleep(60)
        finally:
            app.state.ended.append("wait")
        return {}

    @app.get("/v1/try/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(_stream(app), media_type="text/event-stream")

    @app.get("/v1/try/flood")
    async def flood() -> StreamingResponse:
        return StreamingResponse(_flood(app), media_type="text/event-stream")

    @app.get("/v1/try/fail")
    async def fail() -> None:
        raise ValueError(SECRET)

    @app.get("/v1/try/refuse/{user_id}")
    async def refuse(user_id: str) -> None:
        raise GenerationError(f"{SECRET} by {user_id}")

    return app


async def _stream(app: FastAPI) -> AsyncIterator[bytes]:
    try:
        yield b"data: 1\n\n"
        await app.state.release.wait()
        yield b"data: 2\n\n"
    finally:
        app.state.ended.append("stream")


async def _flood(app: FastAPI) -> AsyncIterator[bytes]:
    try:
        while True:
            await asyncio.sleep(0)  # as a stream that waits for tokens
            yield CHUNK
    finally:
        app.state.ended.append("flood")


@asynccontextmanager
async def client_of(app: FastAPI, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client that calls a started application without sockets."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1", headers=headers
        ) as client,
    ):
        yield client


async def until(is_so: Callable[[], bool]) -> None:
    """Waits until a condition holds, for no more than a few seconds."""
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110 - what changes it knows nothing of the test
            await asyncio.sleep(0.001)
