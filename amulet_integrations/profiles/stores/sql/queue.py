"""A queue for updates that lost a race, so that the slow ones get their turn too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import BoundedSemaphore, local

from filelock import FileLock
from sqlalchemy.exc import SQLAlchemyError

from amulet_integrations.errors import ProfileStoreError
from amulet_integrations.profiles.stores.keyed_lock import Turns
from amulet_integrations.profiles.stores.sql.database import Database
from amulet_integrations.profiles.stores.sql.locks import Locks

PATIENCE = 5
"""Seconds after which an update waits no longer, and takes its chance among the others."""

# That hold a turn or wait for one. They are beside those that write: whoever has its turn needs
# another connection to write by. Some of the pool are left for readers.
_MOST_CONNECTIONS = 3

_here = local()


class Queue:
    """Lets one update of a user at a time try again; the others wait, in all processes.

    It only makes matters fair: nothing is lost without it. So whatever goes wrong with it, and
    whoever waits for too long, the update goes on without a turn.

    Args:
        database: The database.
        locks: The locks in it.
    """

    def __init__(self, database: Database, locks: Locks) -> None:
        self._database = database
        self._locks = locks
        self._threads = Turns(PATIENCE)
        self._connections = BoundedSemaphore(_MOST_CONNECTIONS)

    @contextmanager
    def turn(self, user_id: str) -> Iterator[None]:
        """Waits for a turn, and holds it for the block.

        In a thread that holds a turn already it waits for nothing: that may be the very same one.
        """
        if getattr(_here, "has_turn", False):
            yield
            return
        _here.has_turn = True
        with ExitStack() as held:
            held.callback(setattr, _here, "has_turn", False)
            try:
                held.enter_context(self._threads.turn(user_id))
                held.enter_context(self._among_processes(user_id))
            # Some file systems have no locks: that is a NotImplementedError.
            except (ProfileStoreError, SQLAlchemyError, OSError, NotImplementedError):
                held.close()
            yield

    @contextmanager
    def _among_processes(self, user_id: str) -> Iterator[None]:
        if (file := self._database.file) is not None:
            with FileLock(f"{file}-queue", timeout=PATIENCE, poll_interval=0.01):
                yield
        elif not self._database.has_server or not self._connections.acquire(blocking=False):
            yield
        else:
            try:
                with self._database.aside() as connection:
                    self._locks.of_turn(connection, user_id, seconds=PATIENCE)
                    yield
            finally:
                self._connections.release()
