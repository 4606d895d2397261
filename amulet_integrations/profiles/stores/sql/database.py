"""The database that contains the profiles: it runs work, and its errors show no secrets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from hashlib import sha256
from pathlib import Path
from sqlite3 import SQLITE_BUSY, SQLITE_LOCKED
from threading import BoundedSemaphore
from typing import Literal, TypeVar

import platformdirs
from filelock import FileLock
from sqlalchemy import Connection, Engine
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from amulet_integrations.errors import AmuletError, ProfileStoreError
from amulet_integrations.profiles.stores.default_place import APPLICATION, default_path

from .database_url import (
    FILE_SCHEME,
    database_url,
    hide_secrets,
    is_sqlite,
    place_of,
    shown_url,
)
from .engines import SECONDS_TO_WAIT, connect_to
from .fork_guard import fork_guard
from .sqlite_file import SqliteFile

T = TypeVar("T")
Work = Callable[[Connection], T]
ReadMode = Literal["read", "snapshot"]

SECONDS_IN_QUEUE = 5
"""Seconds after which an update leaves the queue, and takes its chance among the others."""

# Writers may wait for each other. Some of the 15 connections of a pool are left for readers.
_MOST_WRITERS = 10

_LOCKED = {SQLITE_BUSY, SQLITE_LOCKED}


class Database:
    """Runs functions that read and write on a connection.

    Errors of the driver become `ProfileStoreError`s without their cause, which may quote rows.

    Args:
        url: A database URL, or the path of an SQLite file.

    Attributes:
        name: The name of the database for messages, without its password.
        place: A name that is equal for all URLs of this database.

    Raises:
        MissingDependencyError: The driver is not installed.
        ProfileStoreError: The URL cannot be used.
    """

    def __init__(self, url: URL | str | Path) -> None:
        self._url = url if isinstance(url, URL) else database_url(url)
        self._file = SqliteFile.of(self._url)
        self._fork_guard = fork_guard.work if is_sqlite(self._url) else nullcontext
        self._is_closed = False
        self._writers = BoundedSemaphore(_MOST_WRITERS)
        self.name: str = shown_url(self._url)
        self.place: str = self.opening(lambda: place_of(self._url))
        if self._file is not None:
            self.opening(self._make_file)
        self._engines = self.opening(lambda: connect_to(self._url))
        fork_guard.register(self)

    def opening(self, run: Callable[[], T]) -> T:
        """Runs what opens the database for the first time.

        Raises:
            ProfileStoreError: The database cannot be opened.
        """
        # Drivers refuse unknown options with a TypeError or a ValueError.
        kinds = (SQLAlchemyError, OSError, TypeError, ValueError)
        return self._guarded("open the profiles", run, kinds=kinds)

    def read(self, doing: str, work: Work[T], mode: ReadMode = "read") -> T:
        """Does work that reads.

        Args:
            doing: What the work does, for error messages.
            work: Receives a connection.
            mode: See `connect_to`. "read" is enough for a single query.

        Raises:
            ProfileStoreError: The database cannot be read.
        """

        def run() -> T:
            self._check_file(doing)
            with self._engine(mode).connect() as connection:
                return work(connection)

        return self._guarded(doing, run)

    def write(self, doing: str, work: Work[T]) -> T:
        """Does work in a transaction, which is committed at the end if there was no error.

        Args:
            doing: What the work does, for error messages.
            work: Receives a connection.

        Raises:
            ProfileStoreError: The database cannot be written. If the connection was lost during
                the commit, the message says that the change may or may not be stored.
        """

        def run() -> T:
            self._check_file(doing)
            with self._writer_slot(doing), self._engine("write").begin() as connection:
                done = work(connection)
            self._check_file(doing)  # it may have been deleted before the commit
            return done

        return self._guarded(doing, run, writes=True)

    @contextmanager
    def queue(self, user_id: str) -> Iterator[None]:
        """Waits for the other updates of this user, on this machine, that had conflicts.

        The queue only makes updates fair; no update is lost without it. So if there is no lock, or
        others hold it for more than a few seconds, the update goes on.
        """
        with ExitStack() as held:
            # Some file systems have no locks: that is a NotImplementedError.
            with suppress(OSError, NotImplementedError):
                if (folder := self._queue_folder()) is not None:
                    folder.mkdir(parents=True, exist_ok=True)
                    # Users share 256 files, so that the folder stays small.
                    digest = sha256(user_id.encode(errors="surrogatepass")).hexdigest()
                    file = folder / digest[:2]
                    # A singleton, so that an update within another one's function does not wait.
                    lock = FileLock(file, SECONDS_IN_QUEUE, poll_interval=0.01, is_singleton=True)
                    held.enter_context(lock)
            yield

    def remove_traces(self) -> None:
        """Removes deleted contents from the files of SQLite.

        When SQLite moves rows within the file, copies may remain in gaps that `secure_delete` does
        not reach. So the file is rewritten, and then the write-ahead log is emptied.

        Raises:
            ProfileStoreError: Others still read an earlier state of the database, or write.
        """
        if self._file is None:
            return

        def work(connection: Connection) -> bool:
            try:
                connection.exec_driver_sql("VACUUM")
            except OperationalError as error:
                # The low byte is the kind of the error.
                if getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _LOCKED:
                    return True
                raise
            return bool(connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0])

        if self.read("remove what was deleted from the files", work):
            raise ProfileStoreError(
                f"It is deleted in {self.name}, but others are still reading what was there "
                "before, or writing, so the files keep it. Erase it once more when they are done."
            )

    def close(self) -> None:
        """Closes all connections. May be called twice."""
        self._is_closed = True
        with self._fork_guard():
            self._engines["read"].dispose()

    def before_fork(self) -> None:
        """Closes the connections to a file; a database in memory ends with its connection."""
        if self._file is not None:
            self._engines["read"].dispose()

    def after_fork(self) -> None:
        """Leaves the connections to a server, and the places of writers, to the parent."""
        self._writers = BoundedSemaphore(_MOST_WRITERS)
        if not is_sqlite(self._url):
            self._engines["read"].dispose(close=False)

    def _make_file(self) -> None:
        if self._file is None or FILE_SCHEME in (self._url.database or ""):
            return  # the options of such a URL decide whether there may be a new file
        self._file.create()
        if self._file.path == default_path():
            self._file.make_private()

    def _check_file(self, doing: str) -> None:
        if self._file is not None:
            self._file.check(doing)

    def _engine(self, mode: str) -> Engine:
        if self._is_closed:
            raise ProfileStoreError(f"The store of {self.name} is closed. Open it anew.")
        return self._engines[mode]

    def _queue_folder(self) -> Path | None:
        if self._file is not None:
            return Path(f"{self.place.removeprefix('sqlite:///')}-queues")
        if is_sqlite(self._url):
            return None
        name = sha256(self.place.encode()).hexdigest()[:16]
        return Path(platformdirs.user_cache_dir(APPLICATION)) / f"{name}-queues"

    @contextmanager
    def _writer_slot(self, doing: str) -> Iterator[None]:
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
        writes: bool = False,
    ) -> T:
        # A UnicodeError must not escape: it contains the whole text.
        expected: tuple[type[Exception], ...] = (UnicodeError, *kinds)
        try:
            with self._fork_guard():
                return run()
        except AmuletError:
            raise
        except expected as cause:
            error = self._error(doing, cause, writes=writes)
        # Raised outside of the handler, so that the cause is not the context of the error either.
        raise error

    def _error(self, doing: str, cause: Exception, *, writes: bool) -> ProfileStoreError:
        from_driver = cause if isinstance(cause, DBAPIError) else None
        # Only the first line: further ones may quote the row.
        reason = str(from_driver.orig if from_driver else cause).strip().partition("\n")[0]
        if isinstance(cause, UnicodeEncodeError | UnicodeDecodeError):
            reason = f"a text does not fit the encoding {cause.encoding}"
        reason = hide_secrets(reason.rstrip(". "), self._url)
        # Of all that a transaction sends, only the commit is no statement.
        commits = writes and from_driver is not None and from_driver.statement is None
        if commits and from_driver and from_driver.connection_invalidated:
            remedy = (
                "The connection was lost while the change was being committed: it may or may not "
                "be stored. Read it before you repeat the change."
            )
        elif "statement timeout" in reason:
            remedy = (
                "The server is busy, or others hold the tables. Try again, or give statements more "
                "time: ?options=-c%20statement_timeout=5min in the URL."
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
