"""Who runs and who waits. Touches no tensors."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from amulet_integrations.engine.sequence import Sequence


class Scheduler:
    """First come, first served; a request is admitted with all its contexts or waits.

    Args:
        max_rows: Most contexts that are decoded at once. A request with more runs alone.
        max_prefill_tokens: Most tokens, padding included, that one step reads of new prompts. A
            longer prompt is read alone.

    Attributes:
        running: The requests that are being decoded, in the order of their rows.
    """

    def __init__(self, max_rows: int, max_prefill_tokens: int) -> None:
        self._max_rows = max_rows
        self._max_prefill_tokens = max_prefill_tokens
        self._waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []

    @property
    def has_work(self) -> bool:
        """Whether anything runs or waits."""
        return bool(self.running or self._waiting)

    @property
    def rows(self) -> int:
        """Contexts that are being decoded."""
        return sum(len(sequence.contexts) for sequence in self.running)

    def add(self, sequences: Iterable[Sequence]) -> None:
        """Puts requests at the end of the line."""
        self._waiting.extend(sequences)

    def admit(self) -> list[Sequence]:
        """Takes from the line those that can start now; they are not `running` yet.

        Requests that were cancelled or ran out of time in the line end here.
        """
        self._leave_line()
        rows = self.rows
        admitted: list[Sequence] = []
        longest = 0
        while self._waiting:
            contexts = self._waiting[0].contexts
            rows += len(contexts)
            longest = max(longest, *map(len, contexts))
            reading = rows - self.rows
            too_many = rows > self._max_rows and (self.running or admitted)
            too_long = reading * longest > self._max_prefill_tokens and admitted
            if too_many or too_long:
                break
            admitted.append(self._waiting.popleft())
        return admitted

    def drop_everyone(self) -> list[Sequence]:
        """Forgets all requests and returns them."""
        everyone = [*self.running, *self._waiting]
        self.running.clear()
        self._waiting.clear()
        return everyone

    def _leave_line(self) -> None:
        for sequence in self._waiting:
            sequence.end_if_overdue()
        self._waiting = deque(sequence for sequence in self._waiting if not sequence.done)
