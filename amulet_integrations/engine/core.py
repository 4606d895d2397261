"""One step of every request: decode, read a part of the prompts, hand out tokens."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf

import torch

from amulet_integrations.engine.backends.transformers.memory import (
    free_device_memory,
    is_out_of_memory,
)
from amulet_integrations.engine.backends.transformers.runner import ModelRunner, Piece
from amulet_integrations.engine.failures import as_generation_error
from amulet_integrations.engine.kv.slots import Rows
from amulet_integrations.engine.reader import PromptReader
from amulet_integrations.engine.sampling.speculative import append_tokens, verify_drafts
from amulet_integrations.engine.sampling.token_choice import cached_mixing, choose_tokens
from amulet_integrations.engine.scheduler import Scheduler
from amulet_integrations.engine.sequence import Sequence

_MAX_PASS_TOKENS = {"cpu": 32}  # a pass of few tokens costs the time of one; more is dearer
_MAX_PASS_TOKENS_ELSEWHERE = 256


class EngineCore:
    """Gives the scheduler's admitted requests their tokens. Only the worker thread may call in.

    Args:
        runner: The model.
        scheduler: Who runs.
    """

    def __init__(self, runner: ModelRunner, scheduler: Scheduler) -> None:
        self._runner = runner
        self._scheduler = scheduler
        self._rows = Rows(scheduler)
        self._reader = PromptReader(runner, scheduler, self._rows)
        self._mixing = cached_mixing(runner.device)
        self._max_pass_tokens = _MAX_PASS_TOKENS.get(runner.device.type, _MAX_PASS_TOKENS_ELSEWHERE)

    @torch.inference_mode()
    def step(self) -> None:
        """Gives every running request a token or more, then reads a chunk of the others' prompts.

        Requests whose prompts have been read get their first token and become `running`.
        """
        try:
            self._rows.make()
            if self._scheduler.running:
                self._decode()
            if self._scheduler.reading:
                self._start(self._reader.read())
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self._make_memory(error)
        self.leave()

    @torch.inference_mode()
    def leave(self) -> None:
        """Takes out the requests that are done, cancelled or overdue; their room is free."""
        for sequence in self._scheduler.admitted:
            sequence.end_if_overdue()
        gone = {id(sequence) for sequence in self._scheduler.admitted if sequence.done}
        if gone:
            self._rows.give_up(gone)
            self._scheduler.forget(gone)
            if not self._scheduler.admitted:
                self._runner.forget_recordings()

    def forget_prefixes(self) -> None:
        """Forgets what is kept of ended requests."""
        self._runner.forget_recordings()
        self._rows.forget_prefixes()

    def drop_all(self) -> None:
        """Forgets every row and every prefix; the requests must have ended."""
        self._runner.forget_recordings()
        self._rows.drop_all()

    def _decode(self) -> None:
        running, cache = self._scheduler.running, self._rows.cache
        rows = self._rows.of(running)
        limit = self._max_pass_tokens // rows[-1].stop - 1
        drafts = [sequence.draft(limit) for sequence in running]
        pieces = [
            Piece(row, (sequence.completion[-1], *draft))
            for sequence, of_it, draft in zip(running, rows, drafts, strict=True)
            for row in of_it
        ]
        try:
            logits = self._runner.decode(cache, pieces, keep=1 + max(map(len, drafts)))
        except Exception as error:
            if is_out_of_memory(error):
                raise
            self._find_fault(pieces, error)
            return
        try:
            taken = verify_drafts(running, drafts, logits, self._mixing)
        except Exception as error:  # noqa: BLE001 - how far it came, nobody knows
            _fail(running, error)
            return
        for sequence, of_it, draft, count in zip(running, rows, drafts, taken, strict=True):
            sequence.learn(len(draft), count - 1)
            for row, ids in zip(of_it, sequence.contexts, strict=True):
                # The last token is not read yet, and what was drafted wrongly is taken back.
                cache.lengths[row] = len(ids) + len(sequence.completion) - 1

    def _find_fault(self, pieces: SequenceOf[Piece], error: Exception) -> None:
        """Lets those fail whom the model fails alone, or else everybody.

        The others are decoded at the next step.
        """
        running, cache = self._scheduler.running, self._rows.cache
        lengths = list(cache.lengths)
        for sequence, rows in zip(running, self._rows.of(running), strict=True):
            try:
                self._runner.append(cache, pieces[rows.start : rows.stop])
            except Exception as own:
                if is_out_of_memory(own):
                    raise
                _fail([sequence], own)
            finally:
                cache.lengths[:] = lengths
        if not any(sequence.done for sequence in running):
            _fail(running, error)

    def _start(self, read: list[Sequence]) -> None:
        """Gives requests that have just been read their first token."""
        sequences = [sequence for sequence in read if not sequence.done]
        if sequences:
            try:
                logits = torch.stack(
                    [row for each in sequences for row in each.take_first_logits()]
                )
                append_tokens(sequences, choose_tokens(sequences, logits, self._mixing))
            except Exception as error:  # noqa: BLE001
                _fail(sequences, error)
        self._scheduler.start(len(read))

    def _make_memory(self, error: Exception) -> None:
        """After an allocation failed: the others try again once one thing less is held."""
        if not (self._runner.forget_recordings() or self._rows.forget_prefixes()):
            _fail(self._scheduler.admitted[-1:], error)
        free_device_memory()


def _fail(sequences: SequenceOf[Sequence], error: Exception) -> None:
    failure = as_generation_error("The model", error)
    for sequence in sequences:
        sequence.fail(failure)
