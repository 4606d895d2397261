"""What the server does for itself goes on while every thread for requests is taken."""

from __future__ import annotations

import asyncio
import threading
from functools import partial

import anyio
import pytest

from amulet_integrations.concurrency.fair_threads import REQUEST_THREADS
from amulet_integrations.serving import ServerSettings, create_app
from amulet_integrations.serving.access.key_file import KeyFile
from amulet_integrations.serving.access.known_keys import KnownKeys
from amulet_integrations.serving.operations import model_loading
from tests.support.served.routes import client_of, until

ALL = 32


@pytest.fixture
async def busy():
    """Every thread waits, as for a check of preferences that hangs."""
    free = threading.Event()
    held = [
        REQUEST_THREADS.start(partial(free.wait, 30), f"busy {number}", may_be_left=True)
        for number in range(ALL)
    ]
    try:
        async with asyncio.timeout(20):
            yield
    finally:
        free.set()
        await asyncio.gather(*held)


@pytest.mark.usefixtures("busy")
async def test_a_changed_file_of_keys_is_read(tmp_path):
    file = KeyFile(tmp_path / "keys.json")
    file.create(user_id="ann")
    known = KnownKeys(file)
    bob = await known.afind(file.create(user_id="bob").text)
    assert bob is not None
    assert bob.user_id == "bob"


@pytest.fixture
def loading(monkeypatch, tiny_engine):
    """Makes an application that loads an engine, which ends by a function."""
    from amulet_integrations.engine import LocalEngine

    def make(close):
        monkeypatch.setattr(LocalEngine, "from_source", lambda *_, **__: tiny_engine)
        monkeypatch.setattr(tiny_engine, "close", close)
        return create_app(ServerSettings(profiles=None))

    return make


@pytest.mark.usefixtures("busy")
async def test_the_model_is_loaded_and_freed(loading):
    closed = threading.Event()
    app = loading(closed.set)
    async with client_of(app) as client:
        await until(lambda: app.state.amulet.is_ready)
        assert (await client.get("/v1/models")).status_code == 200
    assert closed.is_set()
    assert not app.state.amulet.readiness.is_engine_left


async def test_an_engine_that_does_not_end_is_left(loading, monkeypatch):
    monkeypatch.setattr(model_loading, "_SECONDS_TO_CLOSE", 0.05)
    free = threading.Event()
    app = loading(partial(free.wait, 30))
    async with asyncio.timeout(20):
        async with client_of(app):
            await until(lambda: app.state.amulet.is_ready)
    assert app.state.amulet.readiness.is_engine_left
    free.set()


async def test_a_request_needs_no_thread_to_begin(tiny_engine, tmp_path, monkeypatch):
    used: list[object] = []
    run_sync = anyio.to_thread.run_sync

    async def counted(function, *args, **options):
        used.append(function)
        return await run_sync(function, *args, **options)

    monkeypatch.setattr(anyio.to_thread, "run_sync", counted)
    app = create_app(ServerSettings(profiles=tmp_path / "profiles.db"), engine=tiny_engine)
    async with client_of(app) as client:
        for path in ("/healthz", "/readyz", "/metrics", "/v1/me"):
            assert (await client.get(path)).status_code == 200
        assert (await client.get("/v1/profiles/ann")).status_code == 404
        assert (await client.delete("/v1/profiles/ann")).status_code == 404
    assert used == []
