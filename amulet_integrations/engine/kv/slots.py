"""Which rows of the cache belong to which request, and how much of a context they hold already."""

from __future__ import annotations

from collections.abc import Container
from collections.abc import Sequence as SequenceOf
from itertools import accumulate

from amulet_integrations.engine.backends.base import Backend, KVCache
from amulet_integrations.engine.scheduler import Scheduler
from amulet_integrations.engine.sequence import Sequence

from .prefix_cache import Prefix, PrefixCache, Tokens, as_tokens, match_prefix


class SlotManager:
    """Gives the admitted requests their rows: in the scheduler's order, context after context.

    Args:
        backend: The backend that holds the rows.
        scheduler: The scheduler of the requests.

    Attributes:
        cache: The rows.
    """

    def __init__(self, backend: Backend, scheduler: Scheduler) -> None:
        self._backend = backend
        self._scheduler = scheduler
        self.cache = self._new_cache()
        self._prefixes = PrefixCache(
            scheduler.limits.max_prefix_tokens or 0,
            free=backend.free_prefix,
            max_prefixes=self.cache.max_saved,
        )

    @property
    def prefix_tokens(self) -> int:
        """The number of tokens that are kept of ended requests."""
        return self._prefixes.tokens

    def allocate(self) -> None:
        """Adds rows for the requests that were admitted since the last call."""
        self._prefixes.shrink_to(self._scheduler.spare_tokens(self.cache.tokens))
        missing = self._scheduler.rows - len(self.cache.lengths)
        if missing:
            self.cache.add(missing)

    def rows_of(self, sequences: SequenceOf[Sequence]) -> list[range]:
        """Returns the rows of each request; `sequences` are the first admitted ones, or all."""
        ends = accumulate(len(sequence.contexts) for sequence in sequences)
        return [
            range(end - len(sequence.contexts), end)
            for sequence, end in zip(sequences, ends, strict=True)
        ]

    def release(self, gone: Container[int]) -> None:
        """Drops the rows of requests with these `id`s and keeps their prefixes."""
        admitted = self._scheduler.admitted
        staying: list[int] = []
        for sequence, rows in zip(admitted, self.rows_of(admitted), strict=True):
            # A request that was admitted after the last `allocate` has no rows yet.
            allocated = [row for row in rows if row < len(self.cache.lengths)]
            if id(sequence) not in gone:
                staying += allocated
                continue
            for row, ids in zip(allocated, sequence.contexts, strict=False):
                # Before the first token it is unknown whether the states can be trusted.
                if sequence.is_sound and sequence.completion:
                    self._save_prefix(row, [*ids, *sequence.completion], sequence.cache_salt)
                else:
                    self.cache.clear(row)
        try:
            self.cache.keep(staying)
        except Exception as error:
            if not self._backend.is_out_of_memory(error):
                raise
            # Only the smaller tensors could not be allocated; the rows are where they belong.

    def load_prefix(self, sequence: Sequence, index: int, row: int) -> bool:
        """Fills a context's row with the longest prefix that is known.

        Returns:
            False if it is better to wait until another row holds more of it.
        """
        ids = sequence.prompts[index]
        saved_length, prefix = self._prefixes.longest(ids, sequence.cache_salt)
        saved_length = min(saved_length, len(ids) - 1)  # the last token's logits are needed
        match = match_prefix(ids, self._shareable_prompts(sequence)[:row], self.cache.lengths)
        if match.worth_waiting(saved_length):
            return False
        if prefix is not None and saved_length > match.length:
            self.cache.load(row, prefix.saved, saved_length)
        if match.length and self.cache.lengths[row]:
            self.cache.merge(match.row, row, match.length)
        elif match.length:
            self.cache.copy(match.row, row, match.length)
        sequence.cached_tokens[index] = self.cache.lengths[row]
        return True

    def forget_prefixes(self) -> bool:
        """Drops everything that is kept of ended requests; returns whether there was anything."""
        had_prefixes = self._prefixes.tokens > 0
        self._prefixes.shrink_to(0)
        return had_prefixes

    def reset(self) -> None:
        """Drops all rows and all prefixes."""
        self.forget_prefixes()
        self.cache.close()
        self.cache = self._new_cache()

    def _new_cache(self) -> KVCache:
        limits = self._scheduler.limits
        return self._backend.new_cache(limits.max_rows, limits.max_cache_tokens or 0)

    def _shareable_prompts(self, sequence: Sequence) -> list[Tokens]:
        """Returns the context of every row, empty where this request may not copy it."""
        return [
            ids if self._may_share(sequence, other) else ids[:0]
            for other in self._scheduler.admitted
            for ids in other.prompts
        ]

    def _may_share(self, one: Sequence, other: Sequence) -> bool:
        # Without prefixes, no user can find out by timing what others have sent; nor across salts.
        return one is other or (
            self._prefixes.max_tokens > 0 and one.cache_salt == other.cache_salt
        )

    def _save_prefix(self, row: int, ids: SequenceOf[int], cache_salt: str | None) -> None:
        length = self.cache.lengths[row]
        tokens = as_tokens(ids[:length])
        if not self._prefixes.accepts(tokens, cache_salt):
            return
        try:
            saved = self.cache.save(row, length)
        except Exception as error:
            if not self._backend.is_out_of_memory(error):
                raise
            self.forget_prefixes()
        else:
            self._prefixes.add(Prefix(tokens, saved, cache_salt))
