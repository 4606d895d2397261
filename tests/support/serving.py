"""Servers on the loopback address, for tests where sockets matter."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import FastAPI

from amulet_integrations.serving.operations.graceful_server import GracefulServer
from amulet_integrations.serving.run import bind_sockets, make_config

_SECONDS_TO_START = 30.0


@contextmanager
def serve_app(app: FastAPI) -> Iterator[str]:
    """Serves an application as `amulet serve` does, but in a thread, on a free port.

    Yields:
        The base URL, such as "http://127.0.0.1:43817".
    """
    with running_server(app) as (_, url):
        yield url


@contextmanager
def running_server(app: FastAPI) -> Iterator[tuple[GracefulServer, str]]:
    """As `serve_app`, with the server, whose `stop` ends it in order."""
    state = app.state.amulet
    sockets = bind_sockets("127.0.0.1", 0)
    server = GracefulServer(make_config(app, log_config=None), state)
    thread = threading.Thread(target=server.run, args=[sockets], daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + _SECONDS_TO_START
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            assert time.monotonic() < deadline, "the server takes too long to start"
            time.sleep(0.005)
        yield server, f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=state.settings.shutdown_timeout + 10)
