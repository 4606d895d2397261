"""Makes forks of this process safe for databases.

libsqlite3 records which locks the process holds. A forked child inherits the record, but not the
locks: it would write without them, into a log that the parent deletes when it closes. So a fork
waits until nobody works in an SQLite database, and all connections to files are closed first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Condition, get_ident
from typing import Protocol
from weakref import WeakSet

LONGEST_WAIT = 60.0
"""Seconds that a fork waits for work that has begun. Then it goes on, so that it never hangs."""


class Forkable(Protocol):
    """Something that has to be prepared for forks."""

    def before_fork(self) -> None:
        """Closes what a child must not inherit."""

    def after_fork(self) -> None:
        """Replaces, in the child, what belongs to the parent."""


class _ForkGuard:
    def __init__(self) -> None:
        self._changed = Condition()
        self._working: set[int] = set()
        self._forking: set[int] = set()
        self._databases: WeakSet[Forkable] = WeakSet()

    def register(self, database: Forkable) -> None:
        """Prepares a database for every fork, as long as it lives."""
        with self._changed:
            self._databases.add(database)

    @contextmanager
    def work(self) -> Iterator[None]:
        """Makes forks of other threads wait for the block. Blocks may be nested."""
        thread = get_ident()
        if thread in self._working:
            yield
            return
        with self._changed:
            # New work waits for a fork, or busy threads would keep the fork waiting.
            self._changed.wait_for(lambda: not self._forking)
            self._working.add(thread)
        try:
            yield
        finally:
            with self._changed:
                self._working.discard(thread)
                self._changed.notify_all()

    def before(self) -> None:
        # The lock is held until the fork is done.
        self._changed.acquire()
        self._forking.add(get_ident())
        self._changed.wait_for(lambda: self._working <= {get_ident()}, LONGEST_WAIT)
        for database in list(self._databases):
            # Whatever goes wrong, the process is about to fork.
            with suppress(Exception):
                database.before_fork()

    def after_in_parent(self) -> None:
        # If `before` was interrupted, the lock is not held.
        with suppress(RuntimeError):
            self._forking.discard(get_ident())
            self._changed.notify_all()
            self._changed.release()

    def after_in_child(self) -> None:
        # The other threads of the parent do not exist in the child.
        self._changed = Condition()
        self._forking.clear()
        self._working &= {get_ident()}
        for database in list(self._databases):
            database.after_fork()


fork_guard = _ForkGuard()

if hasattr(os, "register_at_fork"):  # Windows has no forks.
    os.register_at_fork(
        before=fork_guard.before,
        after_in_parent=fork_guard.after_in_parent,
        after_in_child=fork_guard.after_in_child,
    )
