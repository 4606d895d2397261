"""Which requests are decoded, which are in prefill, and which wait. Touches no tensors."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable
from collections.abc import Sequence as SequenceOf

from amulet_integrations.engine.backends.base import Backend
from amulet_integrations.errors import EngineOverloadedError

from .limits import EngineLimits
from .sequence import Sequence


class Scheduler:
    """First come, first served. A request is admitted with all of its contexts, or waits.

    Args:
        limits: The engine's limits, without a default left open.
        backend: The backend, which knows how much memory rows take.

    Attributes:
        running: The requests that are being decoded, in the order of their rows.
        prefilling: The requests whose prompts are being computed; their rows come after.
    """

    def __init__(self, limits: EngineLimits, backend: Backend) -> None:
        self.limits = limits
        self.running: list[Sequence] = []
        self.prefilling: list[Sequence] = []
        self._backend = backend
        self._waiting: deque[Sequence] = deque()

    @property
    def has_work(self) -> bool:
        """Whether any request runs or waits."""
        return bool(self.running or self.prefilling or self._waiting)

    @property
    def waiting(self) -> int:
        """The number of requests that wait to be admitted."""
        return len(self._waiting)

    @property
    def admitted(self) -> list[Sequence]:
        """The requests that have been admitted and not ended, in the order of their rows."""
        return [*self.running, *self.prefilling]

    @property
    def rows(self) -> int:
        """The number of contexts of the admitted requests."""
        return row_count(self.admitted)

    def spare_tokens(self, held: int) -> int:
        """Returns how many cache tokens the admitted requests neither hold nor will need."""
        return (self.limits.max_cache_tokens or 0) - max(held, self._cache_tokens(self.admitted))

    def add(self, sequences: Iterable[Sequence]) -> None:
        """Appends requests to the queue, all of them or none.

        Raises:
            EngineOverloadedError: The queue is full.
        """
        newcomers = list(sequences)
        queue = [*self._waiting, *newcomers]
        if len(queue) - self._admissible(queue) > self.limits.max_waiting:
            raise EngineOverloadedError(
                f"{len(self._waiting)} requests wait already and {len(newcomers)} more are too "
                f"many for max_waiting={self.limits.max_waiting}. Try again later, send fewer at "
                "once, or raise max_waiting."
            )
        self._waiting.extend(newcomers)

    def admit(self) -> None:
        """Moves requests from the queue to `prefilling` while there is memory for them.

        Requests that were cancelled or timed out in the queue end here.
        """
        for sequence in self._waiting:
            sequence.end_if_cancelled_or_overdue()
        self._waiting = deque(sequence for sequence in self._waiting if not sequence.done)
        for _ in range(self._admissible(self._waiting)):
            self.prefilling.append(self._waiting.popleft())
            self.prefilling[-1].log.admit()

    def start(self, count: int) -> None:
        """Moves the first `count` requests from `prefilling` to `running`."""
        self.running += self.prefilling[:count]
        del self.prefilling[:count]

    def remove(self, gone: Container[int]) -> None:
        """Removes the admitted requests with these `id`s."""
        for group in (self.running, self.prefilling):
            group[:] = [sequence for sequence in group if id(sequence) not in gone]

    def remove_all(self) -> list[Sequence]:
        """Removes all requests and returns them."""
        removed = [*self.admitted, *self._waiting]
        for group in (self.running, self.prefilling, self._waiting):
            group.clear()
        return removed

    def _admissible(self, queue: Iterable[Sequence]) -> int:
        """Returns how many requests of a queue fit beside the admitted ones."""
        together = self.admitted
        before = len(together)
        for newcomer in queue:
            if together and not self._fit([*together, newcomer]):
                break
            together.append(newcomer)
        return len(together) - before

    def _fit(self, sequences: SequenceOf[Sequence]) -> bool:
        return row_count(sequences) <= self.limits.max_rows and self._cache_tokens(sequences) <= (
            self.limits.max_cache_tokens or 0
        )

    def _cache_tokens(self, sequences: SequenceOf[Sequence]) -> int:
        """Returns how many cache tokens these requests need at most."""
        return self._backend.cache_tokens(
            [length for sequence in sequences for length in sequence.max_lengths]
        )


def row_count(sequences: Iterable[Sequence]) -> int:
    """Returns the number of contexts of these requests."""
    return sum(len(sequence.contexts) for sequence in sequences)
