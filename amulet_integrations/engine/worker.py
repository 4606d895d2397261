"""The one thread of this process that does all torch work.

torch's OpenMP pool loses nearly half its speed once a second thread has used it. So all models of
the process take turns on this thread: one decode step or one function at a time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from amulet_integrations.concurrency.fork_safe import ForkSafeLock, reset_in_child
from amulet_integrations.concurrency.user_turns import UserTurns

T = TypeVar("T")

_SECONDS_OF_A_TURN = 0.005

_here = threading.local()


class _Worker:
    """The pool of one thread, which is made when it is needed first."""

    def __init__(self) -> None:
        self._lock = ForkSafeLock()
        self._pool: ThreadPoolExecutor | None = None
        self.waiting = 0  # functions that have not begun
        reset_in_child(self)

    def submit(self, function: Callable[..., T], *args: Any) -> Future[T]:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(1, "amulet-worker", initializer=_mark_worker)
            future = self._pool.submit(self._begin, function, *args)
            self.waiting += 1
            return future

    def reset(self) -> None:
        """Begins anew: a forked child inherits the pool object but not its thread."""
        self._pool = None
        self.waiting = 0
        _here.__dict__.clear()

    def _begin(self, function: Callable[..., T], *args: Any) -> T:
        with self._lock:
            self.waiting -= 1
        return function(*args)


_worker = _Worker()


def submit_to_worker(function: Callable[..., T], *args: Any) -> Future[T]:
    """Queues a function for the worker thread."""
    return _worker.submit(function, *args)


def others_wait() -> bool:
    """Whether functions wait for the worker thread."""
    return _worker.waiting > 0


def run_on_worker(function: Callable[..., T], *args: Any) -> T:
    """Runs a function on the worker thread and returns its result, or raises its error.

    Args:
        function: A function that does torch work, such as beam search or a reward model. Requests
            that are being decoded wait while it runs.
        *args: The arguments of `function`.
    """
    if is_worker_thread():
        return function(*args)
    return submit_to_worker(function, *args).result()


class SteppedWork(Generic[T]):
    """Work in small steps, which may be left and taken up again, and its result.

    Args:
        steps: Does a step at a time, and returns the result.
    """

    def __init__(self, steps: Generator[None, None, T]) -> None:
        self._steps = steps
        self._result: Future[T] = Future()

    @property
    def is_done(self) -> bool:
        """Whether there is a result, or an error."""
        return self._result.done()

    def result(self) -> T:
        """The result of work that is done; or its error is raised."""
        return self._result.result(0)

    def take_turn(self) -> None:
        """Takes steps for a few milliseconds."""
        end_of_turn = time.perf_counter() + _SECONDS_OF_A_TURN
        try:
            while not self.is_done and time.perf_counter() < end_of_turn:
                next(self._steps)
        except StopIteration as end:
            self._result.set_result(end.value)
        except Exception as error:  # noqa: BLE001 - whoever asks for the result gets it
            self._result.set_exception(error)


def run_in_turns(
    work: SteppedWork[T], between: Callable[[], None], user_id: str | None = None
) -> T:
    """Does work to its end on the worker thread, a few milliseconds at a time.

    Running requests get their turns in between, so that they lose little time. On another thread,
    Python code that takes long would take the interpreter's lock from the worker again and again,
    which slows decoding down many times over.

    Of several works only one has a turn between two steps of decoding: the one that has had the
    fewest, so that short work does not wait for long work.

    Args:
        work: The work. It may have had turns before.
        between: Called between turns and while others have theirs, on the caller's thread. It may
            raise an error, which leaves the work as it is.
        user_id: The user for whom the work is done; None for nobody in particular. Where works have
            had equally many turns, users take turns.

    Returns:
        The result of the work.
    """
    turns = 0
    while not work.is_done:
        between()
        with _turns.take(between, user_id, taken_before=turns):
            run_on_worker(work.take_turn)
        turns += 1
    return work.result()


_turns = UserTurns()


def is_worker_thread() -> bool:
    """Returns whether the caller runs on the worker thread."""
    return getattr(_here, "is_worker", False)


def _mark_worker() -> None:
    _here.is_worker = True
