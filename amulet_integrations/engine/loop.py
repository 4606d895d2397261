"""Keeps the worker thread stepping as long as there is work."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from collections.abc import Sequence as SequenceOf

from amulet_integrations.engine.lockstep import Lockstep
from amulet_integrations.engine.memory import give_back_memory
from amulet_integrations.engine.runner import ModelRunner
from amulet_integrations.engine.scheduler import Scheduler
from amulet_integrations.engine.sequence import Sequence
from amulet_integrations.engine.worker import run_on_worker, submit_to_worker
from amulet_integrations.errors import EngineClosedError, GenerationError


class DecodeLoop:
    """Takes requests from any thread and decodes them on the worker thread.

    One step is one task of the worker, so models, and functions given to `run_on_worker`, take
    turns with it. While requests run or wait, the task queued keeps this object alive.
    """

    def __init__(self, runner: ModelRunner, scheduler: Scheduler) -> None:
        self._runner = runner
        self._scheduler = scheduler
        self._lockstep = Lockstep(runner, scheduler)
        self._lock = threading.Lock()  # guards the line of the scheduler and the two flags
        self._stepping = False
        self.closed = False

    def enqueue(self, sequences: Iterable[Sequence]) -> None:
        """Submits requests together.

        Raises:
            EngineClosedError: The loop was closed.
        """
        with self._lock:
            self.check_open()
            self._scheduler.add(sequences)
            if not self._stepping and self._scheduler.has_work:
                self._stepping = True
                submit_to_worker(self._step)

    def check_open(self) -> None:
        """Raises `EngineClosedError` once the loop was closed."""
        if self.closed:
            raise EngineClosedError("The engine was closed. Make a new one.")

    def close(self) -> None:
        """Ends every request and lets go of the model. Closing twice does nothing more."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
        run_on_worker(self._end)

    def _step(self) -> None:
        with self._lock:
            newcomers = self._scheduler.admit()
        try:
            self._lockstep.step(newcomers)
        except Exception as error:  # noqa: BLE001 - callers must never be left waiting
            self._fail([*self._scheduler.running, *newcomers], error)
        with self._lock:
            self._stepping = self._scheduler.has_work and not self.closed
            if self._stepping:
                submit_to_worker(self._step)
                return
        give_back_memory()

    def _fail(self, sequences: SequenceOf[Sequence], error: Exception) -> None:
        for sequence in sequences:
            failure = GenerationError(f"Decoding failed: {type(error).__name__}: {error}")
            failure.__cause__ = error
            sequence.fail(failure)
        self._lockstep.drop_all()

    def _end(self) -> None:
        with self._lock:
            for sequence in self._scheduler.drop_everyone():
                sequence.fail(EngineClosedError("The engine was closed before the request ended."))
        self._lockstep.drop_all()
        self._runner.release()
