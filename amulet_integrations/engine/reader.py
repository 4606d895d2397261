"""Reads prompts, a chunk at a time, from where earlier requests left off."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf

from amulet_integrations.engine.backends.transformers.memory import is_out_of_memory
from amulet_integrations.engine.backends.transformers.runner import ModelRunner, Piece
from amulet_integrations.engine.failures import as_generation_error
from amulet_integrations.engine.kv.slots import Rows
from amulet_integrations.engine.reading import Chunk
from amulet_integrations.engine.scheduler import Scheduler, row_count
from amulet_integrations.engine.sequence import Sequence


class Part:
    """What a pass reads of one context."""

    def __init__(self, sequence: Sequence, index: int, piece: Piece, end: int) -> None:
        self.sequence = sequence
        self.index = index
        self.piece = piece
        self.is_last = end == len(sequence.contexts[index])


class PromptReader:
    """Reads the prompts of the scheduler's `reading` requests.

    Args:
        runner: The model.
        scheduler: Whose prompts are to be read.
        rows: Where they are read into.
    """

    def __init__(self, runner: ModelRunner, scheduler: Scheduler, rows: Rows) -> None:
        self._runner = runner
        self._scheduler = scheduler
        self._rows = rows

    def read(self) -> list[Sequence]:
        """Reads one chunk.

        Returns:
            The requests that have been read and are next in line; they have `first_logits`.

        Raises:
            Exception: An allocation failed. What the chunk would have read is unread.
        """
        self._read(self._chunk())
        ready: list[Sequence] = []
        for sequence in self._scheduler.reading:
            if not (sequence.is_read or sequence.done):
                break
            ready.append(sequence)
        return ready

    def _chunk(self) -> list[Part]:
        """Chooses what to read; who came first is read first."""
        chunk = Chunk(self._scheduler.limits.max_prefill_tokens or 1)
        lengths = self._rows.cache.lengths
        row = row_count(self._scheduler.running)
        parts: list[Part] = []
        for sequence in self._scheduler.reading:
            for index, ids in enumerate(sequence.contexts):
                if chunk.full:
                    return parts
                begun = lengths[row] > 0 or self._rows.begin(sequence, index, row)
                start = lengths[row]
                if begun and (take := chunk.take(len(ids) - start)):
                    end = start + take
                    parts.append(Part(sequence, index, Piece(row, ids[start:end]), end))
                row += 1
        return parts

    def _read(self, parts: SequenceOf[Part]) -> None:
        if not parts:
            return
        try:
            logits = self._runner.append(self._rows.cache, [part.piece for part in parts])
        except Exception as error:
            if is_out_of_memory(error):
                raise
            self._find_fault(parts, error)
            return
        for part, after in zip(parts, logits, strict=True):
            if part.is_last:
                part.sequence.first_logits[part.index] = after[-1].clone()  # not the whole chunk's

    def _find_fault(self, parts: SequenceOf[Part], error: Exception) -> None:
        """One request is at fault: let it fail alone."""
        sequences = {id(part.sequence): part.sequence for part in parts}
        if len(sequences) == 1:
            parts[0].sequence.fail(as_generation_error("The model", error))
            return
        for key in sequences:
            self._read([part for part in parts if id(part.sequence) == key])
