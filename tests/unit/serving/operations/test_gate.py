"""What is refused before anything of a request's body is taken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from amulet_integrations.serving import ServerSettings, create_app
from amulet_integrations.serving.access.key_file import KeyFile
from tests.support.served.routes import client_of, make_app, until


async def never_read() -> AsyncIterator[bytes]:
    pytest.fail("the body of a refused request is not read")
    yield b""


async def wait_until_busy(app, count: int) -> None:
    """Waits until requests have passed the gate, which may have to read keys."""
    await until(lambda: len(app.state.begun) == count)


async def test_one_key_takes_its_share_and_another_key_is_served(tiny_engine, tmp_path):
    file = KeyFile(tmp_path / "keys.json")
    ann, bob = (
        {"Authorization": f"Bearer {file.create(user_id=it).text}"} for it in ("ann", "bob")
    )
    app = make_app(tiny_engine, keys=file.path, max_streams=2)
    async with client_of(app) as client:
        held = [asyncio.create_task(client.get("/v1/try/wait", headers=ann)) for _ in range(2)]
        await wait_until_busy(app, 2)
        refused = await client.post("/v1/try/raw", headers=ann, content=never_read())
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        assert (await client.post("/v1/try/raw", headers=bob)).status_code == 200
        assert (await client.get("/healthz")).status_code == 200
        app.state.release.set()
        assert [it.status_code for it in await asyncio.gather(*held)] == [200, 200]
        assert (await client.post("/v1/try/raw", headers=ann)).status_code == 200


async def test_without_keys_all_requests_count_together(tiny_engine):
    app = make_app(tiny_engine, max_streams=1)
    async with client_of(app) as client:
        held = asyncio.create_task(client.get("/v1/try/wait"))
        await wait_until_busy(app, 1)
        assert (await client.post("/v1/try/raw")).status_code == 429
        held.cancel()
        await asyncio.wait([held])
        assert (await client.post("/v1/try/raw")).status_code == 200


@pytest.mark.parametrize("key", [None, "Bearer nobody's", "Basic YTpi"])
async def test_a_wrong_key_is_refused_before_its_body_is_read(tiny_engine, tmp_path, key):
    file = KeyFile(tmp_path / "keys.json")
    file.create(user_id="ann")
    app = make_app(tiny_engine, keys=file.path)
    headers = {} if key is None else {"Authorization": key}
    async with client_of(app) as client:
        answer = await client.post("/v1/try/raw", headers=headers, content=never_read())
        assert answer.status_code == 401
        for route in ("/healthz", "/readyz", "/metrics"):
            assert (await client.get(route)).status_code == 200


async def test_while_the_model_is_loaded_requests_are_sent_away_for_a_while(
    monkeypatch, tiny_engine
):
    loading = asyncio.Event()
    app = make_slow_app(monkeypatch, tiny_engine, loading)
    async with client_of(app) as client:
        assert (await client.get("/healthz")).status_code == 200
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()) == (503, {"status": "loading"})
        answer = await client.post("/v1/chat/completions", content=never_read())
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["error"]["code"] == "model_loading"
        loading.set()
        await until(lambda: app.state.amulet.is_ready)
        assert (await client.get("/readyz")).status_code == 200
        assert (await client.get("/v1/nothing")).status_code == 404


def make_slow_app(monkeypatch, engine, loading: asyncio.Event):
    from amulet_integrations.engine import LocalEngine

    loop = asyncio.get_running_loop()

    def load(source, *, max_waiting):
        assert max_waiting == 7
        asyncio.run_coroutine_threadsafe(loading.wait(), loop).result()
        return engine

    monkeypatch.setattr(LocalEngine, "from_source", load)
    monkeypatch.setattr(engine, "close", lambda: None)
    return create_app(ServerSettings(profiles=None, max_waiting=7))


async def test_a_model_that_cannot_be_loaded_ends_the_server(monkeypatch, tiny_engine):
    from amulet_integrations.engine import LocalEngine
    from amulet_integrations.errors import UnsupportedModelError

    def fail(source, *, max_waiting):
        raise UnsupportedModelError("no such luck")

    monkeypatch.setattr(LocalEngine, "from_source", fail)
    app = create_app(ServerSettings(profiles=None))
    stopped = asyncio.Event()
    app.state.amulet.readiness.stop = stopped.set
    async with client_of(app) as client:
        await stopped.wait()
        assert (await client.get("/readyz")).json() == {"status": "failed"}
        answer = await client.get("/v1/models")
        metrics = (await client.get("/metrics")).text
    assert answer.status_code == 503
    assert "no such luck" not in answer.text
    assert 'amulet_refusals_total{reason="model_failed"} 1.0' in metrics
    assert isinstance(app.state.amulet.readiness.failure, UnsupportedModelError)


async def test_a_database_that_cannot_be_used_is_found_before_the_model_is_loaded(monkeypatch):
    from amulet_integrations.engine import LocalEngine
    from amulet_integrations.errors import ProfileStoreError

    loaded = []
    monkeypatch.setattr(LocalEngine, "from_source", lambda *_, **__: loaded.append("a model"))
    app = create_app(ServerSettings(profiles="mysql://user:password@host/database"))
    stopped = asyncio.Event()
    app.state.amulet.readiness.stop = stopped.set
    async with client_of(app):
        await stopped.wait()
    assert isinstance(app.state.amulet.readiness.failure, ProfileStoreError)
    assert not loaded


async def test_a_server_that_stops_refuses_what_is_new(tiny_engine):
    app = make_app(tiny_engine)
    async with client_of(app) as client:
        app.state.amulet.readiness.phase = "stopping"
        answer = await client.post("/v1/try/raw")
        assert (await client.get("/readyz")).status_code == 503
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "shutting_down")


async def test_an_application_may_be_started_again(tiny_engine):
    app = make_app(tiny_engine)
    for _ in range(2):
        async with client_of(app) as client:
            assert (await client.post("/v1/try/raw")).status_code == 200
            assert (await client.get("/readyz")).status_code == 200
