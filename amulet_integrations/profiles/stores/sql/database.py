"""The database that holds the profiles: work is done in it, and errors are told without secrets."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from sqlite3 import SQLITE_BUSY, SQLITE_LOCKED
from threading import BoundedSemaphore
from typing import Literal, TypeVar

from sqlalchemy import Connection, Engine, Pool
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from amulet_integrations.errors import AmuletError, ProfileStoreError
from amulet_integrations.profiles.stores.sql.engines import SECONDS_TO_WAIT, connect_to
from amulet_integrations.profiles.stores.sql.forks import Work as WorkUnderWay
from amulet_integrations.profiles.stores.sql.urls import (
    database_url,
    default_path,
    is_in_memory,
    is_sqlite,
    place_of,
    shown,
    without_secrets,
)

T = TypeVar("T")
Work = Callable[[Connection], T]

# Pools of a parent process: nobody may close connections that are still the parent's.
_INHERITED: list[Pool] = []

# Writers may wait for each other: of the 15 connections of a pool, some are left for readers.
_MOST_WRITERS = 10


class Database:
    """Reads and writes by functions that are given a connection.

    Errors of the driver become `ProfileStoreError`s without their cause, which may quote rows.

    Args:
        url: A database URL, the path of an SQLite file, or None for the default one.

    Raises:
        MissingDependencyError: The driver is not installed.
        ProfileStoreError: The URL cannot be used.
    """

    def __init__(self, url: str | Path | None = None) -> None:
        self._under_way: Callable[[], AbstractContextManager[None]] = nullcontext
        self._url = database_url(default_path() if url is None else url)
        self.name = shown(self._url)
        self.place = self.opening(lambda: place_of(self._url))
        self._closed = False
        self._process = os.getpid()
        self._writers = BoundedSemaphore(_MOST_WRITERS)
        self._engines = self.opening(lambda: connect_to(self._url))
        if is_sqlite(self._url):
            # A fork copies a database in memory with its one connection.
            close = None if is_in_memory(self._url) else self._engines["read"].dispose
            self._under_way = WorkUnderWay(close).under_way

    def opening(self, run: Callable[[], T]) -> T:
        """Runs what opens the database for the first time.

        Raises:
            ProfileStoreError: The database cannot be opened.
        """
        # Drivers refuse options that they do not know with a TypeError or ValueError.
        kinds = (SQLAlchemyError, OSError, TypeError, ValueError)
        return self._guarded("open the profiles", run, kinds=kinds)

    def read(self, doing: str, work: Work[T], *, mode: Literal["read", "snapshot"] = "read") -> T:
        """Does work that reads.

        Args:
            doing: What it does, for the message of an error.
            work: Is given a connection; "read" is enough for one statement.
            mode: See `connect_to`.

        Raises:
            ProfileStoreError: The database cannot be read.
        """

        def run() -> T:
            with self._engine(mode).connect() as connection:
                return work(connection)

        return self._guarded(doing, run)

    def write(self, doing: str, work: Work[T]) -> T:
        """Does work in a transaction that is committed at its end, or not at all where it raises.

        Args:
            doing: What it does, for the message of an error.
            work: Is given a connection.

        Raises:
            ProfileStoreError: The database cannot be written. Where the connection was lost while
                the transaction was being committed, the message says that both may be.
        """
        at_the_end = False

        def run() -> T:
            nonlocal at_the_end
            engine = self._engine("write")
            with self._among_writers(doing), engine.begin() as connection:
                result = work(connection)
                at_the_end = True
            return result

        return self._guarded(doing, run, at_the_end=lambda: at_the_end)

    @property
    def file(self) -> str | None:
        """The path of the database, where it is an SQLite file that is named by its path."""
        name = self._url.database
        plain = is_sqlite(self._url) and not is_in_memory(self._url)
        return name if plain and name and not name.startswith("file:") else None

    @property
    def has_server(self) -> bool:
        """Whether it is PostgreSQL."""
        return not is_sqlite(self._url)

    @contextmanager
    def aside(self) -> Iterator[Connection]:
        """A transaction beside the one that does the work, whose end may fail unnoticed.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: It cannot be begun.
        """
        connection = self._engine("write").connect()
        try:
            yield connection
        finally:
            try:
                connection.close()
            except SQLAlchemyError:
                # The first attempt found the connection lost; the second gives its place back.
                with suppress(SQLAlchemyError):
                    connection.close()

    def remove_traces(self) -> None:
        """Takes what was deleted out of SQLite's files.

        Rows that SQLite moved within the file have left copies in gaps, which `secure_delete` does
        not reach, so the file is written anew. Then the write-ahead log is the last that holds it.

        Raises:
            ProfileStoreError: Others are reading an earlier state of the database, or writing.
        """
        if not is_sqlite(self._url) or is_in_memory(self._url):
            return

        def work(connection: Connection) -> bool:
            try:
                connection.exec_driver_sql("VACUUM")
            except OperationalError as error:
                if _is_held(error):
                    return True
                raise
            row = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
            return bool(row[0])

        if self.read("remove what was deleted from the files", work):
            raise ProfileStoreError(
                f"It is deleted in {self.name}, but others are still reading what was there "
                "before, or writing, so the files keep it. Erase it once more when they are done."
            )

    def close(self) -> None:
        """Closes all connections. May be called twice."""
        self._closed = True
        with self._under_way():
            self._engine("read", even_closed=True).dispose()

    def _engine(self, mode: str, *, even_closed: bool = False) -> Engine:
        if self._closed and not even_closed:
            raise ProfileStoreError(f"The store of {self.name} is closed. Open it anew.")
        engine = self._engines[mode]
        if self._process != os.getpid():
            self._process = os.getpid()
            # Threads of the parent do not give their places back here.
            self._writers = BoundedSemaphore(_MOST_WRITERS)
            if self.has_server:
                _INHERITED.append(engine.pool)
                engine.dispose(close=False)
        return engine

    @contextmanager
    def _among_writers(self, doing: str) -> Iterator[None]:
        writers = self._writers
        if not writers.acquire(timeout=SECONDS_TO_WAIT):
            raise ProfileStoreError(
                f"Cannot {doing} in {self.name}: {_MOST_WRITERS} threads of this process have been "
                f"writing for {SECONDS_TO_WAIT} s. Try again, or write from fewer threads."
            )
        try:
            yield
        finally:
            writers.release()

    def _guarded(
        self,
        doing: str,
        run: Callable[[], T],
        *,
        kinds: tuple[type[Exception], ...] = (SQLAlchemyError,),
        at_the_end: Callable[[], bool] = lambda: False,
    ) -> T:
        # A UnicodeError must not escape: it holds the whole text.
        expected: tuple[type[Exception], ...] = (UnicodeError, *kinds)
        try:
            with self._under_way():
                return run()
        except AmuletError:
            raise
        except expected as error:
            told = self._told(doing, error, at_the_end=at_the_end())
        # Here, outside of the handler, the cause is not the context of this error either.
        raise told

    def _told(self, doing: str, cause: Exception, *, at_the_end: bool) -> ProfileStoreError:
        """Says what failed, in which database, why, and what to look at."""
        of_driver = cause if isinstance(cause, DBAPIError) else None
        # Only the first line: further ones may quote the row.
        reason = str(of_driver.orig if of_driver else cause).strip().partition("\n")[0].rstrip(". ")
        if isinstance(cause, UnicodeEncodeError | UnicodeDecodeError):
            reason = f"a text does not fit the encoding {cause.encoding}"
        reason = without_secrets(reason, self._url)
        if at_the_end and of_driver and of_driver.connection_invalidated:
            remedy = (
                "The connection was lost while the change was being committed: it may or may not "
                "be stored. Read it before you repeat the change."
            )
        elif is_sqlite(self._url):
            remedy = (
                "Check that the path can be written, is an SQLite file, and is not locked by "
                "another program; or name another database."
            )
            if "readonly" in reason or "read-only" in reason:
                remedy += (
                    " Where nothing can be written, a file that nobody else writes either can be "
                    "read as sqlite:///file:/its/path?immutable=1&uri=true"
                )
        else:
            remedy = "Check the URL, that the server can be reached, and the rights of its user."
        return ProfileStoreError(f"Cannot {doing} in {self.name}: {reason}. {remedy}")


def _is_held(error: OperationalError) -> bool:
    code = getattr(error.orig, "sqlite_errorcode", 0)
    return code & 0xFF in {SQLITE_BUSY, SQLITE_LOCKED}  # the rest says how
