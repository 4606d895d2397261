"""The server as a part of somebody else's application, below a prefix."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI

from amulet_integrations.serving.access.key_file import KeyFile
from tests.support.served.routes import client_of, make_app, until

PREFIX = "/amulet"


@pytest.fixture
def keys(tmp_path):
    return KeyFile(tmp_path / "keys.json")


@pytest.fixture
def ann(keys):
    return {"Authorization": f"Bearer {keys.create(user_id='ann').text}"}


def mounted(app: FastAPI) -> FastAPI:
    """Another application, which has a route of its own and starts and ends ours with it."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with app.router.lifespan_context(app):
            yield

    host = FastAPI(lifespan=lifespan)

    @host.get("/v1/own")
    async def own() -> str:
        return "the host's"

    host.mount(PREFIX, app)
    return host


async def test_profiles_and_answers_are_below_the_prefix(tiny_engine, tmp_path, keys, ann):
    app = make_app(tiny_engine, profiles=tmp_path / "profiles.db", keys=keys.path)
    async with client_of(mounted(app), **ann) as client:
        assert (await client.get("/v1/own", headers={"Authorization": ""})).json() == "the host's"
        assert (await client.get(f"{PREFIX}/readyz")).status_code == 200
        path = f"{PREFIX}/v1/profiles/ann"
        made = await client.put(path, json={"preferences": ["Be brief."]})
        assert (made.status_code, made.headers["location"]) == (201, path)
        assert (await client.get(f"{PREFIX}/v1/profiles/a%2Fb")).status_code == 403
        asked = {"model": "embedded", "messages": [{"role": "user", "content": "Hi"}]}
        answer = await client.post(f"{PREFIX}/v1/chat/completions", json={**asked, "max_tokens": 1})
        assert answer.json()["amulet"]["user_id"] == "ann"
        unknown = await client.post(f"{PREFIX}/v1/responses")
        assert "/v1/chat/completions" in unknown.json()["error"]["message"]


async def test_the_bounds_of_a_key_hold_below_the_prefix(tiny_engine, keys, ann):
    app = make_app(tiny_engine, keys=keys.path, max_streams=1)

    async def body() -> AsyncIterator[bytes]:
        pytest.fail("the body of a refused request is not read")
        yield b""

    async with client_of(mounted(app)) as client:
        without_key = await client.post(f"{PREFIX}/v1/try/raw", content=body())
        assert without_key.status_code == 401
        held = asyncio.create_task(client.get(f"{PREFIX}/v1/try/wait", headers=ann))
        await until(lambda: len(app.state.amulet.running) == 1)
        refused: httpx.Response = await client.post(
            f"{PREFIX}/v1/try/raw", headers=ann, content=body()
        )
        assert refused.status_code == 429
        app.state.release.set()
        assert (await held).status_code == 200
