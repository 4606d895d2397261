"""The server as a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from socket import socket

import uvicorn

from .app import create_app
from .settings import ServerSettings


def run_server(
    settings: ServerSettings, *, on_ready: Callable[[str], object] | None = None
) -> None:
    """Serves until it is stopped, by Ctrl-C or SIGTERM.

    Args:
        settings: The settings.
        on_ready: Called with the server's URL once it answers.

    Raises:
        AmuletError: A setting is not valid, or there is no such model.
    """
    app = create_app(settings)
    config = uvicorn.Config(app, host=settings.host, port=settings.port, log_config=None)
    _Server(config, on_ready).run()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_ready: Callable[[str], object] | None) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self._on_ready is not None:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            self._on_ready(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
