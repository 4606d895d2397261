"""Turns: one holder at a time for each key, where threads and event loops wait together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Generator, Hashable
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from threading import Lock

from amulet_integrations.errors import ProfileStoreError


class Turns:
    """Locks by key, first come first served; a key costs nothing while nobody holds it.

    A thread that waits sleeps, and a task that waits leaves its event loop free. They are not
    reentrant: who holds a key must not ask for it again.

    Args:
        patience: Seconds after which a thread waits no longer. It may be the very thread whose
            event loop runs the holder.
    """

    def __init__(self, patience: float = 30.0) -> None:
        self._patience = patience
        self._guard = Lock()
        # Those that wait for each key that is held; a key that is not here is free.
        self._queues: dict[Hashable, deque[Future[None]]] = {}

    @contextmanager
    def turn(self, key: Hashable) -> Generator[None, None, None]:
        """Holds a key for the block; for threads.

        Raises:
            ProfileStoreError: Others have held it for longer than anybody should wait.
        """
        ticket = self._ask(key)
        try:
            ticket.result(self._patience)
        except TimeoutError:
            self._give_up(key, ticket)
            raise ProfileStoreError(
                f"Others have been changing this profile for {self._patience:g} s. Try again; "
                "on an event loop, use the async methods."
            ) from None
        except BaseException:
            self._give_up(key, ticket)
            raise
        try:
            yield
        finally:
            self._pass_on(key)

    @asynccontextmanager
    async def aturn(self, key: Hashable) -> AsyncGenerator[None, None]:
        """Holds a key for the block; for tasks."""
        ticket = self._ask(key)
        try:
            await asyncio.wrap_future(ticket)
        except BaseException:
            self._give_up(key, ticket)
            raise
        try:
            yield
        finally:
            self._pass_on(key)

    def _ask(self, key: Hashable) -> Future[None]:
        ticket: Future[None] = Future()
        with self._guard:
            if key in self._queues:
                self._queues[key].append(ticket)
            else:
                self._queues[key] = deque()
                ticket.set_result(None)
        return ticket

    def _give_up(self, key: Hashable, ticket: Future[None]) -> None:
        # A ticket that cannot be cancelled any more had its turn already.
        if not ticket.cancel():
            self._pass_on(key)

    def _pass_on(self, key: Hashable) -> None:
        with self._guard:
            queue = self._queues[key]
            while queue:
                ticket = queue.popleft()
                if ticket.set_running_or_notify_cancel():
                    ticket.set_result(None)
                    return
            del self._queues[key]
