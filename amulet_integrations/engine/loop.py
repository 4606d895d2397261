"""Keeps the worker thread stepping as long as there is work."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from amulet_integrations.concurrency.fork_safe import ForkSafeLock, reset_in_child
from amulet_integrations.engine.kv.memory_use import trim_heap
from amulet_integrations.errors import AmuletError, EngineClosedError

from .limits import EngineStats
from .request_log import log_refusals
from .result import as_generation_error
from .scheduler import Scheduler
from .sequence import Sequence
from .worker import others_wait, run_on_worker, submit_to_worker


class LoopCore(Protocol):
    """Gives the scheduler's admitted requests their tokens. Used on the worker thread only."""

    @property
    def prefix_tokens(self) -> int:
        """The number of tokens that are kept of ended requests; any thread may ask."""

    def step(self) -> None:
        """Gives running requests their next tokens, and computes some of the prompts."""

    def remove_finished(self) -> None:
        """Removes the requests that are done, cancelled or overdue, and frees their rows."""

    def forget_prefixes(self) -> None:
        """Drops everything that is kept of ended requests."""

    def reset(self) -> None:
        """Drops all rows and prefixes. The requests must have ended."""

    def release(self) -> None:
        """Frees the model. Nothing is computed any more."""


class EngineLoop:
    """Takes requests from any thread and decodes them on the worker thread.

    After each step, other engines and functions given to `run_on_worker` get their turns. While
    requests run or wait, the task of the worker keeps this object alive.

    Args:
        scheduler: Which requests run and which wait.
        core: Gives those that run their tokens.

    Attributes:
        closed: Whether `close` was called.
    """

    def __init__(self, scheduler: Scheduler, core: LoopCore) -> None:
        self._scheduler = scheduler
        self._core = core
        self._lock = ForkSafeLock()  # guards the scheduler's queue and the two flags
        self._stepping = False
        self._peak_rows = 0  # since the heap was last trimmed
        self.closed = False
        reset_in_child(self)

    @property
    def stats(self) -> EngineStats:
        """What the engine does now."""
        scheduler = self._scheduler
        return EngineStats(
            running=len(scheduler.running),
            prefilling=len(scheduler.prefilling),
            waiting=scheduler.waiting,
            prefix_tokens=self._core.prefix_tokens,
        )

    @log_refusals()
    def enqueue(self, sequences: Iterable[Sequence]) -> None:
        """Submits requests together.

        Raises:
            EngineClosedError: The loop was closed, or the interpreter is shutting down.
            EngineOverloadedError: The queue is full; no request was accepted.
        """
        with self._lock:
            self.check_open()
            self._scheduler.add(sequences)
            if not self._stepping:
                self._submit_step()

    def check_open(self) -> None:
        """Raises `EngineClosedError` if the loop was closed."""
        if self.closed:
            raise EngineClosedError("The engine was closed. Make a new one.")

    def forget_prefixes(self) -> None:
        """Drops everything that is kept of ended requests. Runs on the worker thread only."""
        self._core.forget_prefixes()

    def close(self) -> None:
        """Ends every request and frees the model. Closing twice does nothing more."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
        run_on_worker(self._shut_down)

    def reset(self) -> None:
        """Drops all requests: in a forked child neither their readers nor the worker exist."""
        self._stepping = False
        self._scheduler.remove_all()
        self._core.reset()

    def _take_steps(self) -> None:
        """Steps until there is no more work, or others wait for the worker."""
        while True:
            self._step()
            with self._lock:
                if others_wait() or not self._has_work:
                    self._submit_step()
                    return

    def _step(self) -> None:
        rows = 0
        try:
            self._core.remove_finished()
            with self._lock:
                self._scheduler.admit()
            rows = self._scheduler.rows
            self._core.step()
        except BaseException as error:  # noqa: BLE001 - callers must never be left waiting
            with self._lock:
                self._fail_all(as_generation_error("Decoding", error))
        self._trim_memory(rows)

    def _trim_memory(self, rows: int) -> None:
        """Returns memory to the system once half of the rows have gone."""
        # Newcomers may have come and gone within the step.
        self._peak_rows = max(self._peak_rows, rows)
        rows = self._scheduler.rows
        if self._peak_rows and rows <= self._peak_rows // 2:
            trim_heap()
            self._peak_rows = rows

    @property
    def _has_work(self) -> bool:
        return self._scheduler.has_work and not self.closed

    def _submit_step(self) -> None:
        """Queues the next step if there is work. The caller holds the lock."""
        self._stepping = self._has_work
        if not self._stepping:
            return
        try:
            submit_to_worker(self._take_steps)
        except RuntimeError:  # the interpreter is shutting down and accepts no more work
            self._stepping = False
            self.closed = True
            self._fail_all(EngineClosedError("The interpreter is shutting down."))

    def _shut_down(self) -> None:
        with self._lock:
            self._fail_all(EngineClosedError("The engine was closed."))
        self._core.release()

    def _fail_all(self, error: AmuletError) -> None:
        for sequence in self._scheduler.remove_all():
            sequence.fail(error)
        self._core.reset()
