"""The server as a process: it listens, loads the model, serves, and ends in order."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import uvicorn
from fastapi import FastAPI

from amulet_integrations.errors import InvalidParamsError

from .application import create_app
from .operations.access_log import log_config
from .operations.graceful_server import GracefulServer
from .operations.http_protocol import BoundedProtocol, ConnectionBounds
from .server_state import ServerState
from .settings import ServerSettings

_BACKLOG = 512

logger = logging.getLogger(__name__)

# Seconds for which a connection may be idle: longer than clients (5) and proxies (60) keep theirs,
# so that nobody sends a request into a connection that is just being closed.
_KEEP_ALIVE = 65


def _print_address(url: str) -> None:
    sys.stdout.write(f"Serving on {url}\n")
    sys.stdout.flush()


def run_server(
    settings: ServerSettings, *, on_ready: Callable[[str], object] = _print_address
) -> None:
    """Serves until the process is told to end (SIGTERM or SIGINT), and returns then.

    Args:
        settings: The settings.
        on_ready: f(url) is called once the model is loaded; prints the address by default.

    Raises:
        AmuletError: A setting is not valid, the port is not free, or the model cannot be loaded.
    """
    app = create_app(settings)
    state: ServerState = app.state.amulet
    sockets = bind_sockets(settings.host, settings.port)
    state.readiness.on_ready = partial(_note_ready, settings, sockets, on_ready)
    server = GracefulServer(make_config(app, log_config=log_config()), state)
    logging.captureWarnings(capture=True)  # lines of the log, too
    try:
        server.run(sockets)
    finally:
        logging.captureWarnings(capture=False)
    if state.readiness.failure is not None:
        raise state.readiness.failure
    if state.readiness.is_engine_left:
        # Nothing stops torch from reading a checkpoint, or a step that hangs, and nobody waits
        # for it any more.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def make_config(app: FastAPI, **options: Any) -> uvicorn.Config:
    """Uvicorn's configuration for an application: one process, HTTP/1.1, bounded connections."""
    state: ServerState = app.state.amulet
    settings = state.settings
    bounds = ConnectionBounds(
        receive_timeout=settings.receive_timeout,
        send_timeout=settings.send_timeout,
        max_connections=settings.max_connections,
        note_refusal=state.metrics.count_refusal,
    )
    return uvicorn.Config(
        app,
        http=cast("type[asyncio.Protocol]", partial(BoundedProtocol, bounds)),  # it is called
        ws="none",
        lifespan="on",
        workers=1,
        timeout_keep_alive=_KEEP_ALIVE,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        **options,
    )


def bind_sockets(host: str, port: int) -> list[socket.socket]:
    """Listens on every address of a host's name, on the same port.

    Raises:
        InvalidParamsError: There is no such address, or somebody else listens there.
    """
    sockets: list[socket.socket] = []
    try:
        addresses = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        for family, *_, address in dict.fromkeys(addresses):
            taken = sockets[0].getsockname()[1] if sockets else address[1]
            sockets.append(
                socket.create_server(
                    (address[0], taken), family=family, backlog=_BACKLOG, reuse_port=False
                )
            )
    except OSError as error:
        for opened in sockets:
            opened.close()
        raise InvalidParamsError(
            f"Cannot listen on host={host!r}, port={port}: {error.strerror or error}. Choose "
            "another port (0 takes a free one), or end what listens there."
        ) from None
    return sockets


def _note_ready(
    settings: ServerSettings, sockets: list[socket.socket], on_ready: Callable[[str], object]
) -> None:
    port = sockets[0].getsockname()[1]
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"http://{host}:{port}"
    logger.info("Serving %s at %s", settings.model, url)
    on_ready(url)
