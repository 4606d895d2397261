"""The threads of a pool: some keep the interpreter until their work is done, others are left."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from queue import Empty, SimpleQueue

from amulet_integrations.errors import AmuletError, EngineClosedError, EngineOverloadedError

SHUTTING_DOWN = "The interpreter is shutting down."

_NICENESS = 15  # of these threads, beside the other ones of the process
_LOWEST_PRIORITY = 19
_SECONDS_IDLE = 10.0  # after which a daemon thread ends

_here = threading.local()


class PoolThreads:
    """Threads that are started as they are needed, and used again.

    Args:
        name: What they are called.
        max_threads: How much work its user submits at a time, at most.
    """

    def __init__(self, name: str, max_threads: int) -> None:
        self._name = name
        # Its threads keep the interpreter; others are daemons.
        self._executor = ThreadPoolExecutor(max_threads, name, initializer=_begin_thread)
        self._handed: SimpleQueue[Callable[[], None]] = SimpleQueue()  # to daemons
        self._idle = 0  # daemons that wait for what is handed to them
        self._lock = threading.Lock()

    def submit(
        self, work: Callable[[], None], then: Callable[[], None], *, may_be_left: bool
    ) -> None:
        """Does work on a thread.

        Args:
            work: The work, which raises nothing.
            then: Called afterwards on the same thread, which counts as free by then.
            may_be_left: Whether the interpreter may exit before the work has ended.

        Raises:
            EngineClosedError: The interpreter is shutting down. The work is never done.
            EngineOverloadedError: The system allows no more threads. The work is never done.
        """
        if may_be_left:
            try:
                self._hand(partial(self._work_as_daemon, work, then))
            except RuntimeError as error:
                raise _why_not(error) from error
            return
        task = _Task(work, then)
        try:
            self._executor.submit(task)
        except RuntimeError as error:  # but the executor may have kept it for another thread
            if task.withdraw():
                raise _why_not(error) from error

    def _hand(self, work: Callable[[], None]) -> None:
        with self._lock:
            if self._idle:
                self._idle -= 1
            else:
                name = f"{self._name}-daemon"
                threading.Thread(target=self._serve, name=name, daemon=True).start()
            self._handed.put(work)

    def _serve(self) -> None:
        """Does what is handed to daemons, until there is nothing for a while."""
        _begin_thread()
        while True:
            try:
                self._handed.get(timeout=_SECONDS_IDLE)()
            except Empty:
                with self._lock:
                    if self._handed.empty():
                        self._idle -= 1
                        return

    def _work_as_daemon(self, work: Callable[[], None], then: Callable[[], None]) -> None:
        work()
        with self._lock:
            self._idle += 1
        then()


class _Task:
    """Work that is either done or withdrawn."""

    def __init__(self, work: Callable[[], None], then: Callable[[], None]) -> None:
        self._work = work
        self._then = then
        self._claim = threading.Lock()

    def __call__(self) -> None:
        if self._claim.acquire(blocking=False):
            self._work()
            self._then()

    def withdraw(self) -> bool:
        """Whether it is never done from now on; False if it has begun."""
        return self._claim.acquire(blocking=False)


def is_pool_thread() -> bool:
    """Whether the caller runs on a thread of any pool."""
    return getattr(_here, "is_pool_thread", False)


def forget_threads() -> None:
    """Makes a thread that has forked an ordinary one, as it is in the child."""
    _here.__dict__.clear()


def _begin_thread() -> None:
    """Marks a thread of a pool; where threads have priorities of their own, it gets a lower one.

    What it computes beside Python's lock would otherwise take processors from the threads of a
    running decode step, of which each waits for all others.
    """
    _here.is_pool_thread = True
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _lower_priority())


def _lower_priority() -> int:
    return min(_NICENESS + os.getpriority(os.PRIO_PROCESS, os.getpid()), _LOWEST_PRIORITY)


def _why_not(error: RuntimeError) -> AmuletError:
    """Why no thread takes work: Python says both by a RuntimeError."""
    if sys.is_finalizing() or "shutdown" in str(error):
        return EngineClosedError(SHUTTING_DOWN)
    return EngineOverloadedError(
        f"No thread could be started ({error}): this process has {threading.active_count():,}, and "
        "the system allows no more. Start fewer threads, or raise the limit of the user "
        "(ulimit -u) or of the container (pids)."
    )
