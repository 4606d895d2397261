"""Which requests are decoded, which are in prefill, and which wait. Touches no tensors."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Container, Iterable, Iterator, Mapping
from collections.abc import Sequence as SequenceOf
from itertools import chain
from typing import TypeAlias

from amulet_integrations.engine.backends.base import ModelDescription
from amulet_integrations.errors import EngineOverloadedError

from .limits import EngineLimits
from .sequence import Sequence

UserId: TypeAlias = str | None
"""Who sent a request; None for nobody in particular."""


class WaitingLine:
    """Users stand in line, each with the requests that wait for them.

    The next request is one of the user who holds the fewest rows; of several such users, of the one
    who is first in line. A user joins the line at its end, and goes back to its end when a request
    of theirs leaves it. The requests of one user leave in the order in which they came.

    All requests of nobody in particular count as those of one more user. So they leave first come,
    first served where no user is ever named, and where some are, nobody gains by leaving the name
    out.

    Nobody waits for ever. What a user holds is given back when their requests end. From then on
    only those who stand before them can go first, each of them once: newcomers stand behind.
    """

    def __init__(self) -> None:
        self._of_user: dict[UserId, deque[Sequence]] = {}  # in the order of the line

    def __len__(self) -> int:
        return sum(map(len, list(self._of_user.values())))  # a copy: any thread may ask

    def __iter__(self) -> Iterator[Sequence]:
        return chain.from_iterable(self._of_user.values())

    def copy(self) -> WaitingLine:
        """Returns a line of the same users and requests."""
        line = WaitingLine()
        for user_id, sequences in self._of_user.items():
            line._of_user[user_id] = sequences.copy()
        return line

    def extend(self, sequences: Iterable[Sequence]) -> None:
        """Adds requests behind those of the same users."""
        for sequence in sequences:
            self._of_user.setdefault(sequence.user_id, deque()).append(sequence)

    def first(self, rows: Mapping[UserId, int]) -> Sequence | None:
        """Returns the request that goes next, and leaves it in the line; None if nobody waits.

        Args:
            rows: How many rows each user holds; a user who is not there holds none.
        """
        if not self._of_user:
            return None
        user_id = min(self._of_user, key=lambda user_id: rows.get(user_id, 0))
        return self._of_user[user_id][0]

    def remove(self, sequence: Sequence) -> None:
        """Removes a request that `first` has returned; its user goes to the end of the line."""
        sequences = self._of_user.pop(sequence.user_id)
        sequences.popleft()
        if sequences:
            self._of_user[sequence.user_id] = sequences

    def remove_done(self) -> None:
        """Removes the requests that have ended."""
        for user_id, sequences in list(self._of_user.items()):
            waiting = deque(sequence for sequence in sequences if not sequence.done)
            if waiting:
                self._of_user[user_id] = waiting
            else:
                del self._of_user[user_id]

    def clear(self) -> None:
        """Removes all requests."""
        self._of_user.clear()


class Scheduler:
    """Users take turns (`WaitingLine`). A request is admitted with all of its contexts, or waits.

    While the request whose turn it is finds no room, no other one is admitted.

    Args:
        limits: The engine's limits, without a default left open.
        model: Knows how much memory rows take.

    Attributes:
        running: The requests that are being decoded, in the order of their rows.
        prefilling: The requests whose prompts are being computed; their rows come after.
    """

    def __init__(self, limits: EngineLimits, model: ModelDescription) -> None:
        self.limits = limits
        self.running: list[Sequence] = []
        self.prefilling: list[Sequence] = []
        self._model = model
        self._waiting = WaitingLine()

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
        queue = self._waiting.copy()
        queue.extend(newcomers)
        self._take_admissible(queue)
        if len(queue) > self.limits.max_waiting:
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
        self._waiting.remove_done()
        for sequence in self._take_admissible(self._waiting):
            self.prefilling.append(sequence)
            sequence.log.admit()

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

    def _take_admissible(self, queue: WaitingLine) -> list[Sequence]:
        """Takes the requests out of a queue that fit beside the admitted ones."""
        together = self.admitted
        before = len(together)
        rows: Counter[UserId] = Counter()
        for sequence in together:
            rows[sequence.user_id] += len(sequence.contexts)
        while (newcomer := queue.first(rows)) is not None:
            if together and not self._fit([*together, newcomer]):
                break
            queue.remove(newcomer)
            together.append(newcomer)
            rows[newcomer.user_id] += len(newcomer.contexts)
        return together[before:]

    def _fit(self, sequences: SequenceOf[Sequence]) -> bool:
        return row_count(sequences) <= self.limits.max_rows and self._cache_tokens(sequences) <= (
            self.limits.max_cache_tokens or 0
        )

    def _cache_tokens(self, sequences: SequenceOf[Sequence]) -> int:
        """Returns how many cache tokens these requests need at most."""
        return self._model.cache_tokens(
            [length for sequence in sequences for length in sequence.max_lengths]
        )


def row_count(sequences: Iterable[Sequence]) -> int:
    """Returns the number of contexts of these requests."""
    return sum(len(sequence.contexts) for sequence in sequences)
