"""Threads for work that may block: a bounded number of them, shared fairly between users.

asyncio's own threads belong to the application, and whoever blocks all of them blocks everybody.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar
from weakref import WeakSet

from amulet_integrations.deadline import Deadline
from amulet_integrations.errors import EngineClosedError

T = TypeVar("T")

_here = threading.local()


_Queue = dict[Future[Any], Callable[[], Any]]


class FairThreads:
    """A bounded number of threads, of which the work for one user takes a bounded share.

    Work that finds no thread free waits, and users whose work waits take turns. A function runs
    with the context variables of the moment at which it was given. One that is already on a thread
    of any such pool runs there at once, so that work which waits for other work never blocks. Work
    that has begun is never broken off: a thread is free again when its function returns.

    Args:
        name: What the threads are called.
        max_threads: How many there are at most. They are made as they are needed.
        share: How many of them work for one user at a time.
        reserve: How many of them begin work only for users who have none at all, so that a few
            users, or work for nobody in particular, cannot take all.
    """

    def __init__(
        self, name: str, *, max_threads: int = 32, share: int = 4, reserve: int = 8
    ) -> None:
        self._name = name
        self._max_threads = max_threads
        self._share = share
        self._reserve = reserve
        self.reset()
        _all.add(self)

    def run(
        self, function: Callable[[], T], *, deadline: Deadline, user_id: str | None = None
    ) -> T:
        """Returns what a function returns, or raises its error.

        Without a timeout the function runs on the caller's thread. With one it runs on a thread of
        the pool, which is left to itself when the time is up.

        Args:
            function: The function.
            deadline: Until when to wait. Its `cancel` is called when nobody waits any more.
            user_id: The user for whom it works; None for nobody in particular.

        Raises:
            RequestTimeoutError: The time was up first.
        """
        if deadline.timeout is None or _is_pool_thread():
            return function()
        future = self._add(function, user_id)
        try:
            wait([future], deadline.remaining)
            if not future.done():
                raise deadline.error()
            return future.result()
        finally:  # also after Ctrl-C
            if not future.done():
                future.cancel()
                deadline.cancel()

    async def arun(
        self, function: Callable[[], T], *, deadline: Deadline, user_id: str | None = None
    ) -> T:
        """As `run`, for asyncio; always on a thread of the pool."""
        future = self.start(function, user_id)
        try:
            await asyncio.wait([future], timeout=deadline.remaining)
            if not future.done():
                raise deadline.error()
            return future.result()
        finally:  # also if the task was cancelled
            if not future.done():
                future.cancel()
                deadline.cancel()

    def start(self, function: Callable[[], T], user_id: str | None = None) -> asyncio.Future[T]:
        """Starts a function on a thread of the pool, from an event loop.

        The function runs to its end, unless the future is cancelled before it has begun.

        Args:
            function: The function.
            user_id: The user for whom it works; None for nobody in particular.
        """
        return asyncio.wrap_future(self._start(function, user_id))

    async def finish(self, function: Callable[[], T], user_id: str | None = None) -> T:
        """Returns what a function returns, from an event loop, and never leaves it half done.

        If the task is cancelled, a function that has begun is waited for, and another one never
        runs.

        Args:
            function: The function.
            user_id: The user for whom it works; None for nobody in particular.
        """
        future = self._start(function, user_id)
        # A future and no task: the end of a loop cancels every task, even a shielded one.
        running = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            if not future.cancel():
                await asyncio.wait([running])
            raise

    def reset(self) -> None:
        """Begins anew without threads, as in a forked child, which has none of its parent's."""
        self._executor = ThreadPoolExecutor(
            self._max_threads, self._name, initializer=_mark_pool_thread
        )
        self._lock = threading.Lock()
        self._waiting: OrderedDict[str | None, _Queue] = OrderedDict()
        self._running: Counter[str | None] = Counter()

    def _start(self, function: Callable[[], T], user_id: str | None) -> Future[T]:
        if not _is_pool_thread():
            return self._add(function, user_id)
        done: Future[T] = Future()  # on a loop of its own, for which all others may wait
        _settle(done, function)
        return done

    def _add(self, function: Callable[[], T], user_id: str | None) -> Future[T]:
        if not isinstance(user_id, str):  # nobody; or no id at all, which the work will refuse
            user_id = None
        future: Future[T] = Future()
        with self._lock:
            queue = self._waiting.setdefault(user_id, {})
            queue[future] = partial(copy_context().run, function)
            self._begin_next()
        future.add_done_callback(partial(self._forget_cancelled, user_id))
        return future

    def _begin_next(self) -> None:
        """Gives free threads to work that waits. The caller holds the lock."""
        while self._running.total() < self._max_threads:
            user_id = next(filter(self._may_begin, self._waiting), _NOBODY)
            if user_id is _NOBODY:
                return
            queue = self._waiting.pop(user_id)
            future = next(iter(queue))
            function = queue.pop(future)
            if queue:  # behind the other users
                self._waiting[user_id] = queue
            try:
                self._executor.submit(self._work_for, user_id, future, function)
            except RuntimeError:  # the interpreter is shutting down and accepts no more work
                future.set_exception(EngineClosedError("The interpreter is shutting down."))
            else:
                self._running[user_id] += 1

    def _may_begin(self, user_id: str | None) -> bool:
        if self._running.total() >= self._max_threads - self._reserve:
            return user_id is not None and not self._running[user_id]
        return user_id is None or self._running[user_id] < self._share

    def _work_for(
        self, user_id: str | None, future: Future[Any], function: Callable[[], Any]
    ) -> None:
        _settle(future, function)
        del future, function
        with self._lock:
            self._running[user_id] -= 1
            if not self._running[user_id]:
                del self._running[user_id]
            self._begin_next()

    def _forget_cancelled(self, user_id: str | None, future: Future[Any]) -> None:
        """Drops work that nobody waits for any more, with all that it holds."""
        if not future.cancelled():
            return
        with self._lock:
            queue = self._waiting.get(user_id, {})
            queue.pop(future, None)
            if not queue:
                self._waiting.pop(user_id, None)


_NOBODY: Any = object()
_all: WeakSet[FairThreads] = WeakSet()


def _settle(future: Future[Any], function: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(function())
    except BaseException as error:  # noqa: BLE001 - for whoever waits
        future.set_exception(error)


def _is_pool_thread() -> bool:
    return getattr(_here, "is_pool_thread", False)


def _mark_pool_thread() -> None:
    _here.is_pool_thread = True


def _reset_in_child() -> None:
    _here.__dict__.clear()
    for pool in _all:
        pool.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_in_child)

REQUEST_THREADS = FairThreads("amulet-request")
"""Prepare requests: they look users up, write prompts, compile grammars."""

STORE_THREADS = FairThreads("amulet-store")
"""Read and write stores that have no methods for asyncio."""
