"""Who is decoded, who is read, and who waits. Touches no tensors."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable
from collections.abc import Sequence as SequenceOf

from amulet_integrations.engine.backends.transformers.row_cache import roomy
from amulet_integrations.engine.limits import EngineLimits
from amulet_integrations.engine.sequence import Sequence
from amulet_integrations.errors import EngineOverloadedError


class Scheduler:
    """First come, first served; a request is admitted with all its contexts or waits.

    Args:
        limits: Every one of them filled in.

    Attributes:
        running: The requests that are being decoded, in the order of their rows.
        reading: The requests whose prompts are being read; their rows come after.
    """

    def __init__(self, limits: EngineLimits) -> None:
        self.limits = limits
        self.running: list[Sequence] = []
        self.reading: list[Sequence] = []
        self._waiting: deque[Sequence] = deque()

    @property
    def has_work(self) -> bool:
        """Whether anything runs or waits."""
        return bool(self.running or self.reading or self._waiting)

    @property
    def admitted(self) -> list[Sequence]:
        """The requests that have left the line and not ended, in the order of their rows."""
        return [*self.running, *self.reading]

    @property
    def rows(self) -> int:
        """Contexts of the requests that were admitted."""
        return row_count(self.admitted)

    def tokens_to_spare(self, held: int) -> int:
        """Tokens of the cache that the admitted requests neither hold nor will need."""
        return (self.limits.max_cache_tokens or 0) - max(held, cache_tokens(self.admitted))

    def add(self, sequences: Iterable[Sequence]) -> None:
        """Puts requests at the end of the line, all of them or none.

        Raises:
            EngineOverloadedError: The line is full.
        """
        newcomers = list(sequences)
        line = [*self._waiting, *newcomers]
        if len(line) - self._about_to_start(line) > self.limits.max_waiting:
            raise EngineOverloadedError(
                f"{len(self._waiting)} requests wait already and {len(newcomers)} more are too "
                f"many for max_waiting={self.limits.max_waiting}. Try again later, send fewer at "
                "once, or raise max_waiting."
            )
        self._waiting.extend(newcomers)

    def admit(self) -> None:
        """Takes from the line those that can start now.

        Requests that were cancelled or ran out of time in the line end here.
        """
        self._leave_line()
        for _ in range(self._about_to_start(self._waiting)):
            self.reading.append(self._waiting.popleft())

    def start(self, count: int) -> None:
        """Makes the first `count` requests that are read `running`."""
        self.running += self.reading[:count]
        del self.reading[:count]

    def forget(self, gone: Container[int]) -> None:
        """Lets go of the admitted requests with these `id`s."""
        for those in (self.running, self.reading):
            those[:] = [sequence for sequence in those if id(sequence) not in gone]

    def drop_everyone(self) -> list[Sequence]:
        """Forgets all requests and returns them."""
        everyone = [*self.admitted, *self._waiting]
        for those in (self.running, self.reading, self._waiting):
            those.clear()
        return everyone

    def _about_to_start(self, line: Iterable[Sequence]) -> int:
        """How many of those in line there is room for beside the admitted ones."""
        together = self.admitted
        before = len(together)
        for newcomer in line:
            if together and not self._have_room([*together, newcomer]):
                break
            together.append(newcomer)
        return len(together) - before

    def _have_room(self, sequences: SequenceOf[Sequence]) -> bool:
        tokens = cache_tokens(sequences)
        return row_count(sequences) <= self.limits.max_rows and tokens <= (
            self.limits.max_cache_tokens or 0
        )

    def _leave_line(self) -> None:
        for sequence in self._waiting:
            sequence.end_if_overdue()
        self._waiting = deque(sequence for sequence in self._waiting if not sequence.done)


def row_count(sequences: Iterable[Sequence]) -> int:
    """Contexts of these requests."""
    return sum(len(sequence.contexts) for sequence in sequences)


def cache_tokens(sequences: SequenceOf[Sequence]) -> int:
    """Tokens of the cache that these requests need at most: all rows are as wide as the widest."""
    return row_count(sequences) * roomy(
        max((sequence.most_tokens for sequence in sequences), default=0)
    )
