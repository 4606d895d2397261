"""Forks of this process: no connection to an SQLite file may live through one.

libsqlite3 notes for the whole process which locks it holds. A child inherits those notes, but not
the locks: it would write without them, into a log that the parent deletes when it closes. So a
fork waits until nobody is at work, and all connections are closed; each process opens its own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Condition, Lock, get_ident
from weakref import WeakSet

LONGEST_WAIT = 60.0
"""Seconds that a fork waits for work under way; it goes on then, for it must not hang for good."""


class Work:
    """The work that is under way in a database, which a fork waits for.

    Args:
        close: Closes what no fork may copy, when nobody is at work and nobody can begin.
    """

    def __init__(self, close: Callable[[], object] | None) -> None:
        self._close = close
        self._changed = Condition()
        self._threads: set[int] = set()
        self._is_stopped = False
        with _registry.lock:
            _registry.known.add(self)

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """No other thread forks during the block. Blocks may be nested."""
        thread = get_ident()
        if thread in self._threads:
            yield
            return
        with self._changed:
            # Else those who go on and on would keep a fork waiting.
            self._changed.wait_for(lambda: not self._is_stopped)
            self._threads.add(thread)
        try:
            yield
        finally:
            with self._changed:
                self._threads.discard(thread)
                self._changed.notify_all()

    def stop(self, seconds: float) -> None:
        """Waits until no other thread is at work, and lets none begin until `go_on`."""
        self._changed.acquire()
        self._is_stopped = True
        self._changed.wait_for(lambda: self._threads <= {get_ident()}, max(0.0, seconds))
        if self._close is not None:
            # Whatever goes wrong with it, the process is about to fork.
            with suppress(Exception):
                self._close()

    def go_on(self) -> None:
        """Lets others work again."""
        # An interrupt may have come before the lock was there.
        with suppress(RuntimeError):
            self._is_stopped = False
            self._changed.notify_all()
            self._changed.release()

    def begin_anew(self) -> None:
        """As `go_on`, in the child: threads of the parent do not exist there."""
        self._is_stopped = False
        self._threads = self._threads & {get_ident()}
        self._changed = Condition()


class _Registry:
    def __init__(self) -> None:
        self.known: WeakSet[Work] = WeakSet()
        self.stopped: list[Work] = []
        self.lock = Lock()

    def before(self) -> None:
        # One fork at a time, or two would wait for each other's databases.
        self.lock.acquire()
        deadline = time.monotonic() + LONGEST_WAIT
        for work in list(self.known):
            self.stopped.append(work)
            work.stop(deadline - time.monotonic())

    def after_in_parent(self) -> None:
        for work in self.stopped:
            work.go_on()
        self.stopped.clear()
        self.lock.release()

    def after_in_child(self) -> None:
        for work in self.stopped:
            work.begin_anew()
        self.stopped.clear()
        self.lock = Lock()


_registry = _Registry()

if hasattr(os, "register_at_fork"):  # Windows has no forks.
    os.register_at_fork(
        before=_registry.before,
        after_in_parent=_registry.after_in_parent,
        after_in_child=_registry.after_in_child,
    )
