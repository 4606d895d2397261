"""The one thread of this process that does all torch work.

torch's OpenMP pool loses nearly half its speed once a second thread has used it. So all models of
the process take turns on this thread: one decode step or one function at a time.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

_SECONDS_OF_A_TURN = 0.005

_here = threading.local()
_pool: ThreadPoolExecutor | None = None
_lock = threading.Lock()


def submit_to_worker(function: Callable[..., T], *args: Any) -> Future[T]:
    """Queues a function for the worker thread."""
    global _pool  # noqa: PLW0603 - one pool for the process is the point
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(1, "amulet-worker", initializer=_mark_worker)
        return _pool.submit(function, *args)


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


def run_in_turns(steps: Generator[None, None, T], between: Callable[[], None]) -> T:
    """Runs a generator to its end on the worker thread, a few milliseconds at a time.

    Running requests get their turns in between, so that they lose little time. On another thread,
    Python code that takes long would take the interpreter's lock from the worker again and again,
    which slows decoding down many times over.

    Args:
        steps: The generator.
        between: Called between turns, on the caller's thread. It may raise an error, which ends
            the work.

    Returns:
        What the generator returns.
    """
    results: list[T] = []
    run_on_worker(_take_turn, steps, results)
    while not results:
        between()
        run_on_worker(_take_turn, steps, results)
    return results[0]


def _take_turn(steps: Generator[None, None, T], results: list[T]) -> None:
    """Runs steps for a turn; adds the result if the last one was among them."""
    end_of_turn = time.perf_counter() + _SECONDS_OF_A_TURN
    while time.perf_counter() < end_of_turn:
        try:
            next(steps)
        except StopIteration as end:
            results.append(end.value)
            return


def is_worker_thread() -> bool:
    """Returns whether the caller runs on the worker thread."""
    return getattr(_here, "is_worker", False)


def _mark_worker() -> None:
    _here.is_worker = True


def _forget_pool_in_child() -> None:
    """A forked child inherits the pool object but not its thread."""
    global _pool, _lock
    _pool, _lock = None, threading.Lock()
    _here.__dict__.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool_in_child)
