"""One decode step of every running request: schedule, run, hand out tokens."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf

import torch
from torch import Tensor

from amulet_integrations.engine.failures import as_generation_error
from amulet_integrations.engine.picking import Pick, WeightsMatrix, pick_tokens
from amulet_integrations.engine.runner import ModelRunner, Rows
from amulet_integrations.engine.scheduler import Scheduler
from amulet_integrations.engine.sequence import Sequence
from amulet_integrations.errors import AmuletError


class Lockstep:
    """Keeps the scheduler's running requests and the model's rows together.

    The rows are those of `scheduler.running`, request after request, context after context. Only
    the worker thread may call in.
    """

    def __init__(self, runner: ModelRunner, scheduler: Scheduler) -> None:
        self._runner = runner
        self._scheduler = scheduler
        self._rows: Rows | None = None
        self._matrix = WeightsMatrix(runner.device)

    @torch.inference_mode()
    def step(self, newcomers: SequenceOf[Sequence]) -> None:
        """Gives every running request one token, and `newcomers` their first one.

        Newcomers that go on become `running`.
        """
        if self._scheduler.running:
            self._decode()
        if newcomers:
            self._read(newcomers)

    @torch.inference_mode()
    def leave(self) -> None:
        """Takes out the requests that are done, cancelled or overdue; their room is free."""
        running = self._scheduler.running
        for sequence in running:
            sequence.end_if_overdue()
        staying = [sequence for sequence in running if not sequence.done]
        if len(staying) == len(running):
            return
        if not staying:
            self.drop_all()
            return
        if self._rows is not None:
            self._rows.keep(_rows_of(running, staying))
        self._scheduler.running[:] = staying

    def drop_all(self) -> None:
        """Forgets every row; the requests must have ended."""
        self._scheduler.running.clear()
        self._rows = None

    def _decode(self) -> None:
        running, rows = self._scheduler.running, self._rows
        assert rows is not None  # noqa: S101 - running requests have rows
        last = [sequence.completion[-1] for sequence in running for _ in sequence.contexts]
        try:
            logits = self._runner.decode(rows, last)
        except Exception as error:  # noqa: BLE001 - whatever the model raises, the engine lives
            failure = as_generation_error("The model", error)
            for sequence in running:
                sequence.fail(failure)
            self.drop_all()
            return
        _hand_out(running, pick_tokens(running, logits, self._matrix.of(running)))
        self.leave()

    def _read(self, newcomers: SequenceOf[Sequence]) -> None:
        contexts = [ids for sequence in newcomers for ids in sequence.contexts]
        try:
            rows, logits = self._runner.prefill(contexts)
        except Exception as error:  # noqa: BLE001
            failure = as_generation_error("The model", error)
        else:
            self._begin(newcomers, rows, logits)
            return
        if len(newcomers) == 1:
            newcomers[0].fail(failure)
            return
        # One of them is at fault: let it fail alone.
        for sequence in newcomers:
            self._read([sequence])

    def _begin(self, newcomers: SequenceOf[Sequence], rows: Rows, logits: Tensor) -> None:
        matrix = WeightsMatrix(self._runner.device).of(newcomers)
        _hand_out(newcomers, pick_tokens(newcomers, logits, matrix))
        staying = [sequence for sequence in newcomers if not sequence.done]
        if not staying:
            return
        if len(staying) < len(newcomers):
            rows.keep(_rows_of(newcomers, staying))
        self._join(staying, rows)

    def _join(self, sequences: SequenceOf[Sequence], rows: Rows) -> None:
        if self._rows is None:
            self._rows = rows
        else:
            self._rows.join(rows)
        self._scheduler.running += sequences


def _hand_out(sequences: SequenceOf[Sequence], picks: SequenceOf[Pick | AmuletError]) -> None:
    for sequence, pick in zip(sequences, picks, strict=True):
        if isinstance(pick, AmuletError):
            sequence.fail(pick)
            continue
        try:
            sequence.advance(pick.token, pick.logprob)
        except Exception as error:  # noqa: BLE001 - one request's text is its own affair
            sequence.fail(as_generation_error("Turning tokens into text", error))


def _rows_of(sequences: SequenceOf[Sequence], staying: SequenceOf[Sequence]) -> list[int]:
    """Row numbers of the `staying` requests, a part of `sequences` in the same order."""
    wanted = {id(sequence) for sequence in staying}
    owners = [id(sequence) for sequence in sequences for _ in sequence.contexts]
    return [row for row, owner in enumerate(owners) if owner in wanted]
