"""A server that ends in order: what runs has a bound of time, and what is left is ended."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn

from amulet_integrations.serving.server_state import ServerState

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_GRACE = 5.0
"""Seconds in which requests that were ended have to be gone."""


class GracefulServer(uvicorn.Server):
    """uvicorn's server; on SIGTERM or SIGINT it refuses what is new and lets what runs finish.

    After `shutdown_timeout`, running requests are ended: streams by an event with an error, others
    by 503. The exit is an ordinary one then. A second signal ends the process at once, as if
    nothing handled it.

    Args:
        config: uvicorn's configuration, with the application of `state`.
        state: The server.
    """

    def __init__(self, config: uvicorn.Config, state: ServerState) -> None:
        timeout = state.settings.shutdown_timeout
        config.timeout_graceful_shutdown = timeout + _GRACE  # type: ignore[assignment]
        super().__init__(config)
        self._state = state
        self._timeout = timeout
        state.readiness.stop = self.stop

    def stop(self) -> None:
        """Ends the server as a signal does; may be called on its event loop."""
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Lets what runs finish, or ends it when its time is up."""
        self._state.readiness.end()
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._timeout, self._state.running.end_all)
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handles signals while the server runs; unlike uvicorn's, it does not repeat them."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's
        """Begins to end the server; the next signal is the system's."""
        self.stop()
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
