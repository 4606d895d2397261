"""Threads for work that may block: a bounded number of them, shared fairly between users.

asyncio's own threads belong to the application, and whoever blocks all of them blocks everybody.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextvars import copy_context
from functools import partial
from typing import Any, NamedTuple, TypeVar
from weakref import WeakSet

from amulet_integrations.errors import AmuletError, EngineClosedError

from .deadline import Deadline
from .fork_safe import reset_in_child
from .pool_threads import SHUTTING_DOWN, PoolThreads, forget_threads, is_pool_thread
from .thread_groups import current_group
from .thread_shares import Owner, ThreadShares

T = TypeVar("T")

_SECONDS_AT_EXIT = 3.0  # that work which may be left has to end by itself


class _Work(NamedTuple):
    function: Callable[[], Any]
    may_be_left: bool


_Queue = dict[Future[Any], _Work]


class FairThreads:
    """A bounded number of threads, of which the work for one user takes a bounded share.

    Work that finds no thread free waits, and users whose work waits take turns. A function runs
    with the context variables of the moment at which it was given. One that is already on a thread
    of any such pool runs there at once, so that work which waits for other work never blocks. Work
    that has begun is never broken off: a thread is free again when its function returns.

    The interpreter exits when all work has ended that has begun. Only work that may be left, since
    it changes nothing, keeps it for no longer than a few seconds: a read that hangs, for example.

    Args:
        name: What the threads are called.
        max_threads: How many there are at most. They are made as they are needed.
        share: How many of them work for one user at a time.
        reserve: How many of them begin work only for users who have none at all, of groups that
            have less than a share. So neither a few users, nor work for nobody in particular, nor
            one group (`thread_groups`) can take all, however many users it names.
    """

    def __init__(
        self, name: str, *, max_threads: int = 32, share: int = 4, reserve: int = 8
    ) -> None:
        self._name = name
        self._max_threads = max_threads
        self._share = share
        self._reserve = reserve
        self._begin_anew()
        _all.add(self)
        reset_in_child(self)

    def run(
        self, function: Callable[[], T], *, deadline: Deadline, user_id: str | None = None
    ) -> T:
        """Returns what a function returns, or raises its error.

        Without a timeout the function runs on the caller's thread. With one it runs on a thread of
        the pool, which is left to itself when the time is up, and when the interpreter exits.

        Args:
            function: The function.
            deadline: Until when to wait. Its `cancel` is called when nobody waits any more.
            user_id: The user for whom it works; None for nobody in particular.

        Raises:
            RequestTimeoutError: The time was up first.
        """
        if deadline.timeout is None or is_pool_thread():
            return function()
        future: Future[T] = self._add(_Work(function, may_be_left=True), user_id)
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
        future = self.start(function, user_id, may_be_left=True)
        try:
            await asyncio.wait([future], timeout=deadline.remaining)
            if not future.done():
                raise deadline.error()
            return future.result()
        finally:  # also if the task was cancelled
            if not future.done():
                future.cancel()
                deadline.cancel()
            elif not future.cancelled():
                future.exception()  # the task may never read it, of which asyncio would complain

    def start(
        self, function: Callable[[], T], user_id: str | None = None, *, may_be_left: bool = False
    ) -> asyncio.Future[T]:
        """Starts a function on a thread of the pool, from an event loop.

        The function runs to its end, unless the future is cancelled before it has begun.

        Args:
            function: The function.
            user_id: The user for whom it works; None for nobody in particular.
            may_be_left: Whether the interpreter may exit before the function has ended, because it
                changes nothing.
        """
        return asyncio.wrap_future(self._start(_Work(function, may_be_left), user_id))

    async def finish(self, function: Callable[[], T], user_id: str | None = None) -> T:
        """Returns what a function returns, from an event loop, and never leaves it half done.

        If the task is cancelled, a function that has begun is waited for, and another one never
        runs.

        Args:
            function: The function.
            user_id: The user for whom it works; None for nobody in particular.
        """
        future = self._start(_Work(function, may_be_left=False), user_id)
        # A future and no task: the end of a loop cancels every task, even a shielded one.
        running = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            if not future.cancel():
                await asyncio.wait([running])
            raise

    def reset(self) -> None:
        """Begins anew, as in a forked child, which has none of its parent's threads."""
        forget_threads()
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._threads = PoolThreads(self._name, self._max_threads)
        self._lock = threading.Lock()
        self._waiting: OrderedDict[Owner, _Queue] = OrderedDict()
        self._shares = ThreadShares(self._max_threads, self._share, self._reserve)
        self._may_be_left: set[Future[Any]] = set()  # of what runs
        self._is_over = False

    def begin_exit(self) -> set[Future[Any]]:
        """Refuses all that has not begun; returns what runs and may be left."""
        with self._lock:
            self._is_over = True
            waiting = [future for queue in self._waiting.values() for future in queue]
            self._waiting.clear()
            running = set(self._may_be_left)
        for future in waiting:
            _refuse(future, EngineClosedError(SHUTTING_DOWN))
        return running

    def _start(self, work: _Work, user_id: str | None) -> Future[Any]:
        if not is_pool_thread():
            return self._add(work, user_id)
        done: Future[Any] = Future()  # on a loop of its own, for which all others may wait
        _settle(done, work.function)
        return done

    def _add(self, work: _Work, user_id: str | None) -> Future[Any]:
        if not isinstance(user_id, str):  # nobody; or no id at all, which the work will refuse
            user_id = None
        owner = Owner(user_id, current_group())
        future: Future[Any] = Future()
        with self._lock:
            queue = self._waiting.setdefault(owner, {})
            queue[future] = work._replace(function=partial(copy_context().run, work.function))
            self._begin_next()
        future.add_done_callback(partial(self._forget_cancelled, owner))
        return future

    def _begin_next(self) -> None:
        """Gives free threads to work that waits. The caller holds the lock."""
        while not self._shares.all_taken:
            owner = next(filter(self._shares.may_begin, self._waiting), None)
            if owner is None:
                return
            queue = self._waiting.pop(owner)
            future = next(iter(queue))
            work = queue.pop(future)
            if queue:  # behind the other users
                self._waiting[owner] = queue
            try:
                self._begin(owner, future, work)
            except AmuletError as error:
                _refuse(future, error)
            else:
                self._shares.count(owner, 1)

    def _begin(self, owner: Owner, future: Future[Any], work: _Work) -> None:
        if self._is_over:
            raise EngineClosedError(SHUTTING_DOWN)
        self._threads.submit(
            partial(_settle, future, work.function),
            partial(self._end, owner, future),
            may_be_left=work.may_be_left,
        )
        if work.may_be_left:
            self._may_be_left.add(future)

    def _end(self, owner: Owner, future: Future[Any]) -> None:
        with self._lock:
            self._may_be_left.discard(future)
            self._shares.count(owner, -1)
            self._begin_next()

    def _forget_cancelled(self, owner: Owner, future: Future[Any]) -> None:
        """Drops work that nobody waits for any more, with all that it holds."""
        if not future.cancelled():
            return
        with self._lock:
            queue = self._waiting.get(owner, {})
            queue.pop(future, None)
            if not queue:
                self._waiting.pop(owner, None)


_all: WeakSet[FairThreads] = WeakSet()


def _settle(future: Future[Any], function: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(function())
    except BaseException as error:  # noqa: BLE001 - for whoever waits
        future.set_exception(error)


def _refuse(future: Future[Any], error: Exception) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(error)


@atexit.register
def _exit() -> None:
    """Waits for what may be left: native code must not return to an interpreter that has ended."""
    wait(set().union(*(pool.begin_exit() for pool in _all)), _SECONDS_AT_EXIT)


REQUEST_THREADS = FairThreads("amulet-request")
"""Prepare requests: they look users up, load models, write prompts, compile grammars.

No user's data is changed there, so what they do may be left when the interpreter exits.
"""

STORE_THREADS = FairThreads("amulet-store")
"""Read and write stores that have no methods for asyncio."""
