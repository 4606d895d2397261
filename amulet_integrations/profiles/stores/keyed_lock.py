"""A lock for each key, on which threads and event loops wait together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Generator, Hashable
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager

from amulet_integrations.concurrency.fork_safe import ForkSafeLock, reset_in_child
from amulet_integrations.errors import ProfileStoreError


class KeyedLock:
    """Locks by key, in the order of arrival. A key that is not locked takes no memory.

    A waiting thread sleeps, and a waiting task leaves its event loop free. The locks are not
    reentrant: the holder of a key must not lock it again.

    Args:
        timeout: Seconds after which a thread stops waiting. The holder may be a task on the event
            loop of that very thread, and then it would wait for ever.
    """

    def __init__(self, timeout: float = 30.0) -> None:
        self._timeout = timeout
        self._guard = ForkSafeLock()
        # The waiters for each key that is locked.
        self._waiters: dict[Hashable, deque[Future[None]]] = {}
        reset_in_child(self)

    def reset(self) -> None:
        """Frees all keys, as in a forked child, where their holders are not."""
        self._waiters.clear()

    @contextmanager
    def hold(self, key: Hashable) -> Generator[None, None, None]:
        """Holds a key for the block, on a thread.

        Raises:
            ProfileStoreError: The key was not free within the timeout.
        """
        try:
            with self._waiter(key) as waiter:
                waiter.result(self._timeout)
        except TimeoutError:
            raise ProfileStoreError(
                f"Others have been changing this profile for {self._timeout:g} s. Try again; "
                "on an event loop, use the async methods."
            ) from None
        try:
            yield
        finally:
            self._release(key)

    @asynccontextmanager
    async def ahold(self, key: Hashable) -> AsyncGenerator[None, None]:
        """Holds a key for the block, in a task."""
        with self._waiter(key) as waiter:
            await asyncio.wrap_future(waiter)
        try:
            yield
        finally:
            self._release(key)

    @contextmanager
    def _waiter(self, key: Hashable) -> Generator[Future[None], None, None]:
        """Queues for a key: the future is done when the key is held."""
        waiter: Future[None] = Future()
        with self._guard:
            if key in self._waiters:
                self._waiters[key].append(waiter)
            else:
                self._waiters[key] = deque()
                waiter.set_result(None)
        try:
            yield waiter
        except BaseException:
            # A waiter that cannot be cancelled any more holds the key already.
            if not waiter.cancel():
                self._release(key)
            raise

    def _release(self, key: Hashable) -> None:
        with self._guard:
            waiters = self._waiters.get(key)
            while waiters:
                waiter = waiters.popleft()
                if waiter.set_running_or_notify_cancel():
                    waiter.set_result(None)
                    return
            self._waiters.pop(key, None)  # it may be held since before a fork
