"""A database that is made by the first write, and not by those who only read."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path

from sqlalchemy.engine import URL

from amulet_integrations.concurrency.fork_safe import ForkSafeLock
from amulet_integrations.errors import ProfileStoreError
from amulet_integrations.profiles.stores.default_place import (
    DEFAULT_PLACE,
    default_path,
    default_place,
)

from .database import Database
from .database_url import database_url, is_in_memory, place_of, shown_url
from .fork_guard import fork_guard
from .schema import Tables, migrate
from .sqlite_file import SqliteFile

logger = logging.getLogger(__name__)


class LateDatabase:
    """A database and its tables, opened at once unless it is an SQLite file that does not exist.

    Such a file, and its folder, are made by the first write. Until then, reading finds nothing.

    Args:
        url: A database URL, the path of an SQLite file, or None or "default" for the default place.
        tables: The tables, which are made or migrated when the database is opened.

    Attributes:
        name: The name of the database for messages, without its password.
        place: A name that is equal for all URLs of this database.

    Raises:
        MissingDependencyError: The driver is not installed.
        ProfileStoreError: The database cannot be opened, or its tables are of a newer version.
    """

    def __init__(self, url: str | Path | None, tables: Tables) -> None:
        # In this form a relative path does not depend on the current directory any more.
        self._url = database_url(default_place() if url in (None, DEFAULT_PLACE) else url)
        self._tables = tables
        self._lock = ForkSafeLock()
        self._opened: Database | None = None
        self._is_closed = False
        if _is_missing_file(self._url):
            self.name, self.place = shown_url(self._url), place_of(self._url)
        else:
            self._opened = database = _open(self._url, tables)
            self.name, self.place = database.name, database.place

    @property
    def exists(self) -> bool:
        """Whether there is a database; if not, the first write makes one."""
        return self._opened is not None or not _is_missing_file(self._url)

    @property
    def lasting_url(self) -> str | None:
        """The URL, with its password, for another process; None for a database in memory."""
        if is_in_memory(self._url):
            return None
        return self._url.render_as_string(hide_password=False)

    def for_reading(self) -> Database:
        """The database; an empty one in memory as long as there is none.

        Raises:
            ProfileStoreError: It cannot be opened, or it is closed.
        """
        return (
            self.for_writing() if self._is_closed or self.exists else _nothing(self._tables.prefix)
        )

    def for_writing(self) -> Database:
        """The database, which is made if there is none.

        Raises:
            ProfileStoreError: It cannot be made or opened, or it is closed.
        """
        if self._opened is not None:
            return self._opened
        # The guard goes first: a fork must not copy a lock that another thread holds.
        with fork_guard.work(), self._lock:
            if self._is_closed:
                raise ProfileStoreError(f"The store of {self.name} is closed. Open it anew.")
            if self._opened is None:
                self._opened = _open(self._url, self._tables)
            return self._opened

    def queue(self, user_id: str) -> AbstractContextManager[None]:
        """See `Database.queue`."""
        return self.for_writing().queue(user_id)

    def close(self) -> None:
        """Closes all connections. May be called twice."""
        with fork_guard.work(), self._lock:
            self._is_closed = True
            if self._opened is not None:
                self._opened.close()


def _open(url: URL, tables: Tables) -> Database:
    if _is_missing_file(url) and (file := SqliteFile.of(url)) is not None:
        _announce_folder(file)
    database = Database(url)
    try:
        database.opening(lambda: migrate(database, tables))
    except BaseException:
        database.close()
        raise
    return database


@lru_cache(maxsize=8)
def _nothing(prefix: str) -> Database:
    """An empty database, which nobody writes, so that reading it works as anywhere."""
    return _open(database_url(":memory:"), Tables(prefix))


def _announce_folder(file: SqliteFile) -> None:
    """Logs that a folder is made, because the path may be mistyped."""
    folder = file.path.parent
    if not folder.exists() and folder != default_path().parent:
        logger.warning("The folder %s did not exist; it is made for the profiles.", folder)


def _is_missing_file(url: URL) -> bool:
    """Whether the URL names an SQLite file that does not exist and could be made."""
    plain = URL.create(url.drivername, database=url.database, query=url.query)
    file = SqliteFile.of(url)
    if file is None or url != plain or not _is_plain_query(url):
        return False  # or it cannot be used at all, and the driver refuses it
    path = file.path
    # Below a regular file, nothing could be made.
    above = next((parent for parent in path.parents if parent.exists()), path)
    return "\0" not in str(path) and not path.exists() and above.is_dir()


def _is_plain_query(url: URL) -> bool:
    """Whether the options allow to make the file, and are known to be valid."""
    timeout = url.query.get("timeout", "0")
    return url.query.keys() <= {"uri", "timeout"} and str(timeout).replace(".", "", 1).isdigit()
