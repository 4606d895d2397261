"""Until when the work for a request may go on, from the call to the last token."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from amulet_integrations.errors import RequestCancelledError, RequestTimeoutError

SECONDS_BETWEEN_LOOKS = 0.05
"""How often something that waits looks whether it is to end."""

_FOR_EVER = 1e8  # seconds; no clock of Python's waits for much longer


class Deadline:
    """The moment at which a request fails, counted from when this object was made.

    Args:
        timeout: Seconds from now; None, and more than three years, for no end.
    """

    def __init__(self, timeout: float | None = None) -> None:
        self.timeout = timeout if timeout is not None and timeout <= _FOR_EVER else None
        self._start = time.monotonic()
        self._whole: Self | None = None
        self._doing = "before the work for it began"
        self._cancelled = False

    @property
    def remaining(self) -> float | None:
        """Seconds that are left, at least 0; None for no end."""
        if self.timeout is None:
            return None
        return max(0.0, self._start + self.timeout - time.monotonic())

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return self.timeout is not None and time.monotonic() - self._start > self.timeout

    @property
    def is_cancelled(self) -> bool:
        """Whether the request, or the call that it belongs to, was cancelled."""
        return self._cancelled or (self._whole is not None and self._whole.is_cancelled)

    def cancel(self) -> None:
        """Ends the work at the next check. May be called from any thread."""
        self._cancelled = True

    def part(self) -> Self:
        """The deadline of one request of this call: the same moment, and cancelled by itself."""
        part = type(self)(self.timeout)
        part._start, part._whole = self._start, self  # noqa: SLF001 - of the same class
        return part

    def check(self, doing: str) -> None:
        """Ends the work if the request was cancelled or its time is up.

        Args:
            doing: What takes the time from now on, for the message: "while …".

        Raises:
            RequestCancelledError: It was cancelled.
            RequestTimeoutError: Its time is up.
        """
        self._doing = doing
        if self.is_cancelled:
            raise RequestCancelledError("The request was cancelled.")
        if self.is_over:
            raise self.error()

    def error(self) -> RequestTimeoutError:
        """The error of a request whose time is up; it names the step of the last check."""
        return RequestTimeoutError(
            f"The request took longer than its timeout of {self.timeout:g} s: the time was up "
            f"{self._doing}. Ask for less, or give it more time."
        )

    @contextmanager
    def holding(self, lock: threading.Lock, doing: str) -> Iterator[None]:
        """Holds a lock for the block; waits for it no longer than the deadline.

        Raises:
            RequestCancelledError: As `check`.
            RequestTimeoutError: As `check`.
        """
        while not lock.acquire(timeout=SECONDS_BETWEEN_LOOKS):
            self.check(doing)
        try:
            yield
        finally:
            lock.release()
