"""Chunked prefill: computes prompts a chunk at a time, from where known prefixes end."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from typing import NamedTuple

from amulet_integrations.engine.backends.base import Backend, RowInput
from amulet_integrations.engine.kv.slots import SlotManager

from .result import as_generation_error
from .scheduler import Scheduler, row_count
from .sequence import Sequence


class ContextChunk(NamedTuple):
    """The part of one context that a pass computes.

    Attributes:
        sequence: The request.
        context: The index of the context.
        input: The tokens.
        is_last: Whether the context ends with them.
    """

    sequence: Sequence
    context: int
    input: RowInput
    is_last: bool


class PassBudget:
    """Limits the tokens of one pass.

    Where a backend pads inputs, chunks of very unequal length are not put together, because the
    shorter ones would be mostly padding.

    Args:
        max_tokens: The most tokens of the pass, padding included.
        pads: Whether the shorter chunks of a pass are padded.

    Attributes:
        full: Whether nothing more is taken.
    """

    def __init__(self, max_tokens: int, *, pads: bool = True) -> None:
        self._max_tokens = max_tokens
        self._pads = pads
        self._taken: list[int] = []
        self.full = False

    def take(self, remaining: int) -> int:
        """Returns how many of a context's remaining tokens become part of the pass."""
        if not self._pads:
            return self._take_unpadded(remaining)
        count = len(self._taken) + 1
        take = min(remaining, self._max_tokens // count)
        padded = count * max([take, *self._taken])
        wasteful = padded > 2 * (take + sum(self._taken))
        if not take or self.full or padded > self._max_tokens or wasteful:
            self.full = self.full or remaining > 0
            return 0
        self._taken.append(take)
        return take

    def _take_unpadded(self, remaining: int) -> int:
        take = min(remaining, self._max_tokens - sum(self._taken))
        self._taken.append(take)
        self.full = take < remaining
        return take


class Prefill:
    """Computes the prompts of the scheduler's `prefilling` requests.

    Args:
        backend: The backend.
        scheduler: The scheduler.
        slots: The rows of the requests.
    """

    def __init__(self, backend: Backend, scheduler: Scheduler, slots: SlotManager) -> None:
        self._backend = backend
        self._scheduler = scheduler
        self._slots = slots

    def step(self) -> list[Sequence]:
        """Computes one chunk.

        Returns:
            The first of the `prefilling` requests that are complete; they have `first_logits`.

        Raises:
            Exception: An allocation failed. The tokens of the chunk are not in the cache.
        """
        self._compute(self._next_chunks())
        ready: list[Sequence] = []
        for sequence in self._scheduler.prefilling:
            if not (sequence.is_prefilled or sequence.done):
                break
            ready.append(sequence)
        return ready

    def _next_chunks(self) -> list[ContextChunk]:
        """Chooses what to compute; earlier requests come first."""
        most = self._scheduler.limits.max_prefill_tokens or 1
        budget = PassBudget(most, pads=self._backend.pads_inputs)
        cache = self._slots.cache
        row = row_count(self._scheduler.running)
        chunks: list[ContextChunk] = []
        for sequence in self._scheduler.prefilling:
            for index, ids in enumerate(sequence.contexts):
                if budget.full:
                    return chunks
                begun = cache.lengths[row] > 0 or self._slots.load_prefix(sequence, index, row)
                start = cache.lengths[row]
                if begun and (take := budget.take(len(ids) - start)):
                    end = start + take
                    row_input = RowInput(row, ids[start:end])
                    chunks.append(ContextChunk(sequence, index, row_input, end == len(ids)))
                row += 1
        return chunks

    def _compute(self, chunks: SequenceOf[ContextChunk]) -> None:
        if not chunks:
            return
        try:
            logits = self._backend.forward(self._slots.cache, [chunk.input for chunk in chunks])
        except Exception as error:
            if self._backend.is_out_of_memory(error):
                raise
            self._isolate_failure(chunks, error)
            return
        for chunk, after in zip(chunks, logits, strict=True):
            if chunk.is_last:
                # A copy, so that the logits of the whole pass are freed.
                chunk.sequence.first_logits[chunk.context] = after[-1].clone()

    def _isolate_failure(self, chunks: SequenceOf[ContextChunk], error: Exception) -> None:
        """Fails the one request that the model fails at, and computes the others' chunks."""
        sequences = {id(chunk.sequence): chunk.sequence for chunk in chunks}
        if len(sequences) == 1:
            chunks[0].sequence.fail(as_generation_error("The model", error))
            return
        for key in sequences:
            self._compute([chunk for chunk in chunks if id(chunk.sequence) == key])
