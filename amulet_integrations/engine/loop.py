"""Keeps the worker thread stepping as long as there is work."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from weakref import WeakSet

from amulet_integrations.engine.backends.transformers.memory import give_back_memory
from amulet_integrations.engine.backends.transformers.runner import ModelRunner
from amulet_integrations.engine.core import EngineCore
from amulet_integrations.engine.failures import as_generation_error
from amulet_integrations.engine.limits import EngineLimits
from amulet_integrations.engine.scheduler import Scheduler
from amulet_integrations.engine.sequence import Sequence
from amulet_integrations.engine.worker import run_on_worker, submit_to_worker
from amulet_integrations.errors import AmuletError, EngineClosedError


class EngineLoop:
    """Takes requests from any thread and decodes them on the worker thread.

    One step is one task of the worker, so models, and functions given to `run_on_worker`, take
    turns with it. While requests run or wait, the task queued keeps this object alive.
    """

    def __init__(self, runner: ModelRunner, limits: EngineLimits) -> None:
        self._runner = runner
        self._scheduler = Scheduler(limits)
        self._lockstep = EngineCore(runner, self._scheduler)
        self._lock = threading.Lock()  # guards the line of the scheduler and the two flags
        self._stepping = False
        self._most_rows = 0  # since memory was last given back
        self.closed = False
        _loops.add(self)

    def enqueue(self, sequences: Iterable[Sequence]) -> None:
        """Submits requests together.

        Raises:
            EngineClosedError: The loop was closed, or the interpreter is shutting down.
            EngineOverloadedError: The line is full; none of them was taken on.
        """
        with self._lock:
            self.check_open()
            self._scheduler.add(sequences)
            if not self._stepping:
                self._go_on()

    def check_open(self) -> None:
        """Raises `EngineClosedError` once the loop was closed."""
        if self.closed:
            raise EngineClosedError("The engine was closed. Make a new one.")

    def forget_prefixes(self) -> None:
        """Forgets what is kept of ended requests; on the worker thread."""
        self._lockstep.forget_prefixes()

    def close(self) -> None:
        """Ends every request and lets go of the model. Closing twice does nothing more."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
        run_on_worker(self._end)

    def start_afresh(self) -> None:
        """Forgets what runs: in a forked child neither its readers nor its worker exist."""
        self._lock = threading.Lock()
        self._stepping = False
        self._scheduler.drop_everyone()
        self._lockstep.drop_all()

    def _step(self) -> None:
        rows = 0
        try:
            self._lockstep.leave()
            with self._lock:
                self._scheduler.admit()
            rows = self._scheduler.rows
            self._lockstep.step()
        except BaseException as error:  # noqa: BLE001 - callers must never be left waiting
            with self._lock:
                self._drop_everyone(as_generation_error("Decoding", error))
        self._put_away(rows)
        with self._lock:
            self._go_on()

    def _put_away(self, rows: int) -> None:
        """Gives memory back once half of the rows have gone."""
        # Newcomers may have come and gone within the step.
        self._most_rows = max(self._most_rows, rows)
        rows = self._scheduler.rows
        if self._most_rows and rows <= self._most_rows // 2:
            give_back_memory()
            self._most_rows = rows

    def _go_on(self) -> None:
        """Queues the next step where there is one; the lock is held."""
        self._stepping = self._scheduler.has_work and not self.closed
        if not self._stepping:
            return
        try:
            submit_to_worker(self._step)
        except RuntimeError:  # no more work is taken when the interpreter shuts down
            self._stepping = False
            self.closed = True
            self._drop_everyone(EngineClosedError("The interpreter is shutting down."))

    def _end(self) -> None:
        with self._lock:
            self._drop_everyone(EngineClosedError("The engine was closed."))
        self._runner.release()

    def _drop_everyone(self, error: AmuletError) -> None:
        for sequence in self._scheduler.drop_everyone():
            sequence.fail(error)
        self._lockstep.drop_all()


_loops: WeakSet[EngineLoop] = WeakSet()


def _start_all_afresh() -> None:
    for loop in _loops:
        loop.start_afresh()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_all_afresh)
