"""The locks of PostgreSQL by which writers wait for each other.

In SQLite there is nothing to lock: every writer waits for the one that is writing.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from .engines import SECONDS_TO_WAIT

_SECONDS_TO_MIGRATE = 600


class AdvisoryLocks:
    """Locks that are held to the end of a transaction.

    They are taken in one order, so that no two transactions wait for each other: first `user` or
    `everyone`, then `parents`.

    Args:
        connection: The connection of the transaction.
        prefix: The prefix of the tables; each set of tables has its own locks.
    """

    def __init__(self, connection: Connection, prefix: str) -> None:
        self._connection = connection
        self._prefix = prefix

    def user(self, user_id: str) -> None:
        """Keeps others from changing this user's profile, and from locking everyone's."""
        self._wait(
            func.pg_advisory_xact_lock_shared(self._key("everyone")),
            func.pg_advisory_xact_lock(self._key("user", user_id)),
        )

    def everyone(self) -> None:
        """Keeps others from changing any profile."""
        self._wait(func.pg_advisory_xact_lock(self._key("everyone")))

    def parents(self) -> None:
        """Keeps others from giving a profile another parent."""
        self._wait(func.pg_advisory_xact_lock(self._key("parents")))

    def tables(self) -> None:
        """Keeps others from migrating the tables, which may take long from here on."""
        if self._connection.dialect.name == "postgresql":
            self._connection.execute(select(func.set_config("statement_timeout", "0", True)))
        self._wait(func.pg_advisory_xact_lock(self._key("tables")), seconds=_SECONDS_TO_MIGRATE)

    def _key(self, *names: str) -> int:
        # A damaged user id, which is to be deleted, may contain half of a surrogate pair.
        name = "\0".join(("amulet", self._prefix, *names)).encode(errors="surrogatepass")
        return int.from_bytes(sha256(name).digest()[:8], signed=True)

    def _wait(self, *locks: ColumnElement[Any], seconds: float | None = None) -> None:
        if self._connection.dialect.name == "postgresql":
            wait = SECONDS_TO_WAIT if seconds is None else seconds
            timeout = func.set_config("lock_timeout", f"{round(1000 * wait)}ms", True)
            self._connection.execute(select(timeout, *locks))
