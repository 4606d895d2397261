"""Until when the work for a request may go on, from the call to the last token."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from amulet_integrations.errors import RequestCancelledError, RequestTimeoutError

_SECONDS_BETWEEN_LOOKS = 0.05  # at whether a waiting request was cancelled


class Deadline:
    """The moment at which a request fails, counted from when this object was made.

    Args:
        timeout: Seconds from now; None for no end.
    """

    def __init__(self, timeout: float | None = None) -> None:
        self.timeout = timeout
        self._start = time.monotonic()
        self._cancelled = False

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return self.timeout is not None and time.monotonic() - self._start > self.timeout

    @property
    def is_cancelled(self) -> bool:
        """Whether the request was cancelled."""
        return self._cancelled

    def cancel(self) -> None:
        """Ends the work at the next check. May be called from any thread."""
        self._cancelled = True

    def check(self, doing: str) -> None:
        """Ends the work if the request was cancelled or its time is up.

        Args:
            doing: What took the time, for the message.

        Raises:
            RequestCancelledError: It was cancelled.
            RequestTimeoutError: Its time is up.
        """
        if self._cancelled:
            raise RequestCancelledError("The request was cancelled.")
        if self.is_over:
            raise RequestTimeoutError(
                f"The request took longer than its timeout of {self.timeout:g} s: the time was up "
                f"{doing}. Ask for less, or give it more time."
            )

    @contextmanager
    def holding(self, lock: threading.Lock, doing: str) -> Iterator[None]:
        """Holds a lock for the block; waits for it no longer than the deadline.

        Raises:
            RequestCancelledError: As `check`.
            RequestTimeoutError: As `check`.
        """
        while not lock.acquire(timeout=_SECONDS_BETWEEN_LOOKS):
            self.check(doing)
        try:
            yield
        finally:
            lock.release()


NO_DEADLINE = Deadline()
"""A deadline that never passes."""
