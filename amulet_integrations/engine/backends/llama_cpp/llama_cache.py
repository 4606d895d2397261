"""The rows of the engine as sequences of a llama.cpp context. Rows move by their ids alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

from amulet_integrations.engine.backends.base import RowInput, SavedPrefix

from .llama_batch import SequenceInput
from .llama_context import CellsFullError, LlamaCppContext, State

_COPIED_FOR_ONE = 64  # a token is computed in the time in which many more are copied


class SavedSequence(NamedTuple):
    """A prefix that is kept: a sequence that is no row's.

    Attributes:
        cache: The cache that it is part of.
        sequence: The sequence's id.
    """

    cache: LlamaCppCache
    sequence: int


class SavedState(NamedTuple):
    """A prefix that is kept out of the cells.

    Attributes:
        state: Its keys and values.
        length: The number of its tokens.
    """

    state: State
    length: int


class LlamaCppCache:
    """The cache of all rows; see `KVCache` for the methods that the engine calls.

    On a processor, each row's attention walks over all cells that are in use, whoever's they are.
    So prefixes that are kept leave the cells where that is quick. Elsewhere they are sequences
    that are no row's.

    Args:
        context: A context without tokens, for this cache alone.
        max_rows: The most rows. The other sequences may keep prefixes.
        on_close: Called with the context when the cache is closed.

    Attributes:
        lengths: The number of tokens that each row holds.
        context: The context.
        max_saved: The most prefixes that are kept at once; None for no limit.
    """

    def __init__(
        self, context: LlamaCppContext, max_rows: int, on_close: Callable[[LlamaCppContext], None]
    ) -> None:
        self.context = context
        self.lengths: list[int] = []
        # One more is taken for a moment: a prefix is saved before an older one is dropped.
        spare = max(0, context.n_seq_max - max_rows - 1)
        self.max_saved = None if context.copies_states else spare
        self._on_close = on_close
        self._sequences: list[int] = []  # of each row
        self._free = list(reversed(range(context.n_seq_max)))
        self._closed = False

    @property
    def tokens(self) -> int:
        """See `KVCache`; what rows share is counted for each of them."""
        return sum(self.lengths)

    def add(self, rows: int) -> None:
        """See `KVCache`."""
        self._sequences += [self._take() for _ in range(rows)]
        self.lengths += [0] * rows

    def keep(self, rows: Sequence[int]) -> None:
        """See `KVCache`."""
        staying = set(rows)
        for row, sequence in enumerate(self._sequences):
            if row not in staying:
                self._give_back(sequence)
        self._sequences[:] = [self._sequences[row] for row in rows]
        self.lengths[:] = [self.lengths[row] for row in rows]

    def copy(self, source: int, target: int, length: int) -> None:
        """See `KVCache`."""
        if source != target:
            self.context.share(self._sequences[source], self._sequences[target], length)
        else:
            self.context.truncate(self._sequences[target], length)
        self.lengths[target] = length

    def truncate(self, row: int, length: int) -> None:
        """See `KVCache`."""
        if length < self.lengths[row]:
            self.context.truncate(self._sequences[row], length)
            self.lengths[row] = length

    def clear(self, row: int) -> None:
        """See `KVCache`; the row's length stays."""
        self.context.truncate(self._sequences[row], 0)

    def merge(self, source: int, target: int, length: int) -> None:
        """See `KVCache`."""
        self.context.merge(self._sequences[source], self._sequences[target], length)

    def save(self, row: int, length: int) -> SavedPrefix:
        """See `KVCache`."""
        if self.context.copies_states:
            return SavedState(self.context.state(self._sequences[row]), self.lengths[row])
        sequence = self._take()
        self.context.share(self._sequences[row], sequence, length)
        return SavedSequence(self, sequence)

    def load(self, row: int, saved: SavedPrefix, length: int) -> None:
        """See `KVCache`.

        What left the cells comes back as a whole, and is then cut. The row stays empty if there are
        too few cells for that, or if computing the few tokens that are wanted takes less time.
        """
        sequence = self._sequences[row]
        if isinstance(saved, SavedSequence):
            self.context.share(saved.sequence, sequence, length)
        else:
            state, copied = cast("SavedState", saved)
            if copied > length * _COPIED_FOR_ONE or not self.context.restore(sequence, state):
                return
            self.context.truncate(sequence, length)
        self.lengths[row] = length

    def free(self, saved: SavedSequence) -> None:
        """Drops a prefix that was saved."""
        self._give_back(saved.sequence)

    def close(self) -> None:
        """See `KVCache`."""
        if not self._closed:
            self._closed = True
            self._sequences.clear()
            self.lengths.clear()
            self._on_close(self.context)

    def inputs(self, inputs: Sequence[RowInput]) -> list[SequenceInput]:
        """Returns what a pass appends to the rows' sequences."""
        return [SequenceInput(self._sequences[row], self.lengths[row], ids) for row, ids in inputs]

    def lengthen(self, inputs: Sequence[RowInput]) -> None:
        """Counts the tokens that a pass has appended."""
        for row, ids in inputs:
            self.lengths[row] += len(ids)

    def _take(self) -> int:
        if not self._free:
            raise CellsFullError(
                f"All {self.context.n_seq_max} sequences of llama.cpp's context are in use."
            )
        return self._free.pop()

    def _give_back(self, sequence: int) -> None:
        if not self._closed:
            self.context.truncate(sequence, 0)
            self._free.append(sequence)
