"""Which rows of the cache belong to whom, and what they can be begun with."""

from __future__ import annotations

from collections.abc import Container
from collections.abc import Sequence as SequenceOf
from itertools import accumulate

from amulet_integrations.engine.backends.transformers.memory import is_out_of_memory
from amulet_integrations.engine.backends.transformers.row_cache import RowCache
from amulet_integrations.engine.kv.prefix_cache import Prefix, PrefixCache, Tokens, as_tokens
from amulet_integrations.engine.reading import known_beginning
from amulet_integrations.engine.scheduler import Scheduler
from amulet_integrations.engine.sequence import Sequence


class Rows:
    """The rows of the admitted requests, in the scheduler's order, context after context.

    Args:
        scheduler: Who is admitted.

    Attributes:
        cache: What has been read of each row.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._prefixes = PrefixCache(scheduler.limits.max_prefix_tokens or 0)
        self.cache = RowCache()

    def make(self) -> None:
        """Gives rows to those who were admitted since the last time."""
        self._prefixes.shrink_to(self._scheduler.tokens_to_spare(self.cache.tokens))
        missing = self._scheduler.rows - len(self.cache.lengths)
        if missing:
            self.cache.add(missing)

    def of(self, sequences: SequenceOf[Sequence]) -> list[range]:
        """The rows of each request; `sequences` are the admitted ones or the first of them."""
        ends = accumulate(len(sequence.contexts) for sequence in sequences)
        return [
            range(end - len(sequence.contexts), end)
            for sequence, end in zip(sequences, ends, strict=True)
        ]

    def give_up(self, gone: Container[int]) -> None:
        """Takes out the rows of requests with these `id`s and remembers what they have read."""
        admitted = self._scheduler.admitted
        staying: list[int] = []
        for sequence, rows in zip(admitted, self.of(admitted), strict=True):
            # Who was admitted after the last `make` has no rows yet.
            rows_made = [row for row in rows if row < len(self.cache.lengths)]
            if id(sequence) not in gone:
                staying += rows_made
                continue
            for row, ids in zip(rows_made, sequence.contexts, strict=False):
                # Before the first token nobody knows whether what was read can be trusted.
                if sequence.is_sound and sequence.completion:
                    self._remember(row, [*ids, *sequence.completion])
                else:
                    self.cache.clear(row)
        try:
            self.cache.keep(staying)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            # Only the smaller tensors did not come about; the rows are where they belong.

    def begin(self, sequence: Sequence, index: int, row: int) -> bool:
        """Puts what has been read before of a context into its row.

        Returns:
            False where it is better to wait until another row has read what both begin with.
        """
        ids = sequence.prompts[index]
        kept, prefix = self._prefixes.longest(ids)
        kept = min(kept, len(ids) - 1)  # the last token's logits are needed
        known = known_beginning(ids, self._prompts_to_copy(sequence)[:row], self.cache.lengths)
        if known.worth_waiting(kept):
            return False
        if prefix is not None and kept > known.length:
            self.cache.put(row, prefix.states, kept)
        elif known.length:
            self.cache.copy(known.row, row, known.length)
        sequence.cached_tokens[index] = self.cache.lengths[row]
        return True

    def forget_prefixes(self) -> bool:
        """Makes room by forgetting all that ended requests have read; whether there was any."""
        some = self._prefixes.tokens > 0
        self._prefixes.shrink_to(0)
        return some

    def drop_all(self) -> None:
        """Forgets everything."""
        self.forget_prefixes()
        self.cache = RowCache()

    def _prompts_to_copy(self, sequence: Sequence) -> list[Tokens]:
        """The context of every row, empty where it is not for this request."""
        # Without prefixes, nobody is to learn from its speed what others have sent.
        shared = self._prefixes.max_tokens > 0
        return [
            ids if shared or other is sequence else ids[:0]
            for other in self._scheduler.admitted
            for ids in other.prompts
        ]

    def _remember(self, row: int, ids: SequenceOf[int]) -> None:
        length = self.cache.lengths[row]
        text = as_tokens(ids[:length])
        if not self._prefixes.worth_keeping(text):
            return
        try:
            states = [
                kept and (kept[0].clone(), kept[1].clone()) for kept in self.cache.take(row, length)
            ]
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self.forget_prefixes()
        else:
            self._prefixes.keep(Prefix(text, states))
