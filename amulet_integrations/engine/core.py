"""One step of the engine: decodes the running requests, then computes a chunk of the prompts."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf

import torch

from amulet_integrations.engine.backends.base import Backend, RowInput
from amulet_integrations.engine.kv.slots import SlotManager
from amulet_integrations.engine.sampling.speculative import append_tokens, verify_drafts
from amulet_integrations.engine.sampling.token_choice import cached_mixing, choose_tokens

from .prefill import Prefill
from .result import as_generation_error
from .scheduler import Scheduler
from .sequence import Sequence


class EngineCore:
    """Gives the scheduler's admitted requests their tokens. Runs on the worker thread only.

    Args:
        backend: The backend.
        scheduler: The scheduler.
    """

    def __init__(self, backend: Backend, scheduler: Scheduler) -> None:
        self._backend = backend
        self._scheduler = scheduler
        self._slots = SlotManager(backend, scheduler)
        self._prefill = Prefill(backend, scheduler, self._slots)
        self._mixing = cached_mixing(backend.device)

    @property
    def prefix_tokens(self) -> int:
        """The number of tokens that are kept of ended requests."""
        return self._slots.prefix_tokens

    @torch.inference_mode()
    def step(self) -> None:
        """Gives every running request a token or more, then computes a chunk of the prompts.

        Requests whose prompts are complete get their first token and become `running`.
        """
        try:
            self._slots.allocate()
            if self._scheduler.running:
                self._decode()
            if self._scheduler.prefilling:
                self._sample_first_tokens(self._prefill.step())
        except Exception as error:
            if not self._backend.is_out_of_memory(error):
                raise
            self._free_memory(error)
        self.remove_finished()

    def remove_finished(self) -> None:
        """Removes the requests that are done, cancelled or overdue, and frees their rows."""
        for sequence in self._scheduler.admitted:
            sequence.end_if_cancelled_or_overdue()
        gone = {id(sequence) for sequence in self._scheduler.admitted if sequence.done}
        if gone:
            self._release(gone)

    @torch.inference_mode()
    def _release(self, gone: set[int]) -> None:
        self._slots.release(gone)
        self._scheduler.remove(gone)
        if not self._scheduler.admitted:
            self._backend.drop_graphs()

    def forget_prefixes(self) -> None:
        """Drops everything that is kept of ended requests."""
        self._backend.drop_graphs()
        self._slots.forget_prefixes()

    def reset(self) -> None:
        """Drops all rows and prefixes. The requests must have ended."""
        self._backend.drop_graphs()
        self._slots.reset()

    def release(self) -> None:
        """Frees the model. Nothing is computed any more."""
        self._backend.release()

    def _decode(self) -> None:
        running, cache = self._scheduler.running, self._slots.cache
        rows = self._slots.rows_of(running)
        draft_limit = self._backend.max_decode_tokens // rows[-1].stop - 1
        drafts = [sequence.draft(draft_limit) for sequence in running]
        inputs = [
            RowInput(row, (sequence.completion[-1], *draft))
            for sequence, own_rows, draft in zip(running, rows, drafts, strict=True)
            for row in own_rows
        ]
        try:
            logits = self._backend.decode(cache, inputs, 1 + max(map(len, drafts)))
        except Exception as error:
            if self._backend.is_out_of_memory(error):
                raise
            self._isolate_failure(inputs, error)
            return
        try:
            taken = verify_drafts(running, drafts, logits, self._mixing)
        except Exception as error:  # noqa: BLE001 - how many tokens were taken is unknown
            _fail(running, error)
            return
        for sequence, own_rows, draft, count in zip(running, rows, drafts, taken, strict=True):
            if not draft:
                continue
            sequence.update_acceptance(len(draft), count - 1)
            for row, ids in zip(own_rows, sequence.contexts, strict=True):
                # The last token is not in the cache yet, and wrong drafts are taken back.
                cache.truncate(row, len(ids) + len(sequence.completion) - 1)

    def _isolate_failure(self, inputs: SequenceOf[RowInput], error: Exception) -> None:
        """Fails the requests that the model fails at alone; if there are none, all of them.

        The others are decoded at the next step.
        """
        running, cache = self._scheduler.running, self._slots.cache
        for sequence, rows in zip(running, self._slots.rows_of(running), strict=True):
            lengths = [cache.lengths[row] for row in rows]
            try:
                self._backend.forward(cache, inputs[rows.start : rows.stop])
            except Exception as own_error:
                if self._backend.is_out_of_memory(own_error):
                    raise
                _fail([sequence], own_error)
            finally:
                for row, length in zip(rows, lengths, strict=True):
                    cache.truncate(row, length)
        if not any(sequence.done for sequence in running):
            _fail(running, error)

    def _sample_first_tokens(self, ready: list[Sequence]) -> None:
        """Gives requests whose prompts are complete their first token."""
        sequences = [sequence for sequence in ready if not sequence.done]
        if sequences:
            try:
                logits = torch.stack(
                    [row for each in sequences for row in each.take_first_logits()]
                )
                append_tokens(sequences, choose_tokens(sequences, logits, self._mixing))
            except Exception as error:  # noqa: BLE001
                _fail(sequences, error)
        self._scheduler.start(len(ready))

    def _free_memory(self, error: Exception) -> None:
        """Drops graphs, else prefixes, else the newest request, so that the next step succeeds."""
        if not (self._backend.drop_graphs() or self._slots.forget_prefixes()):
            _fail(self._scheduler.admitted[-1:], error)
        self._backend.free_memory()


def _fail(sequences: SequenceOf[Sequence], error: Exception) -> None:
    failure = as_generation_error("The model", error)
    for sequence in sequences:
        sequence.fail(failure)
