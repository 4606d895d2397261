"""Who waits for whom. In SQLite every writer waits for the one that is writing."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from amulet_integrations.profiles.stores.sql.engines import SECONDS_TO_WAIT

_SECONDS_TO_MIGRATE = 600


class Locks:
    """Advisory locks of PostgreSQL, held to the end of the transaction.

    They are asked for in one order, so that no two transactions wait for each other: first
    `of_user` or `of_everyone`, then `of_parents`.

    Args:
        prefix: The tables' prefix: each set of tables has its own locks.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def of_user(self, connection: Connection, user_id: str) -> None:
        """Others do not change this user's profile, nor everyone's."""
        self._wait(
            connection,
            func.pg_advisory_xact_lock_shared(self._key("everyone")),
            func.pg_advisory_xact_lock(self._key("user", user_id)),
        )

    def of_everyone(self, connection: Connection) -> None:
        """Others change no profile."""
        self._wait(connection, func.pg_advisory_xact_lock(self._key("everyone")))

    def of_parents(self, connection: Connection) -> None:
        """Others give no profile another parent."""
        self._wait(connection, func.pg_advisory_xact_lock(self._key("parents")))

    def of_turn(self, connection: Connection, user_id: str, *, seconds: float) -> None:
        """Others do not wait for this user any more; it keeps nobody from writing."""
        lock = func.pg_advisory_xact_lock(self._key("turn", user_id))
        self._wait(connection, lock, seconds=seconds)

    def of_tables(self, connection: Connection) -> None:
        """Others do not migrate the tables."""
        lock = func.pg_advisory_xact_lock(self._key("tables"))
        self._wait(connection, lock, seconds=_SECONDS_TO_MIGRATE)

    def _key(self, *names: str) -> int:
        # A damaged user id, which is to be deleted, may hold half of a surrogate pair.
        name = "\0".join(("amulet", self._prefix, *names)).encode(errors="surrogatepass")
        return int.from_bytes(sha256(name).digest()[:8], signed=True)

    @staticmethod
    def _wait(
        connection: Connection, *locks: ColumnElement[Any], seconds: float | None = None
    ) -> None:
        if connection.dialect.name == "postgresql":
            wait = SECONDS_TO_WAIT if seconds is None else seconds
            # 0 would mean without end.
            patience = func.set_config("lock_timeout", f"{max(1, round(1000 * wait))}ms", True)
            connection.execute(select(patience, *locks))
