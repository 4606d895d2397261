"""Opening the database that holds the profiles."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from sqlite3 import OperationalError
from typing import Any

import platformdirs
from sqlalchemy import Connection, Engine, QueuePool, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError

from amulet_integrations.errors import ProfileStoreError

WRITES = "amulet_writes"
"""Execution option of a connection whose transaction is going to write."""

_SECONDS_TO_WAIT = 30.0
"""How long a writer waits for others to finish."""


def default_path() -> Path:
    """The SQLite file that is used where no database is named."""
    return Path(platformdirs.user_data_dir("amulet-integrations")) / "profiles.db"


def database_url(place: str | Path) -> URL:
    """Reads a database URL, or makes one of the path of an SQLite file.

    Args:
        place: A URL such as ``postgresql://ann:secret@db/profiles``, a path, or ``:memory:``.

    Returns:
        The URL. A path becomes absolute, so that a later change of directory does not matter.

    Raises:
        ProfileStoreError: A URL that cannot be read, or an empty string.
    """
    if isinstance(place, str) and "://" in place:
        try:
            return make_url(place)
        except (ArgumentError, ValueError):
            # Neither the URL nor the cause is shown: a password may be in there.
            raise ProfileStoreError(
                f"The database URL that begins with {place.partition('://')[0]}:// cannot be read. "
                "Write it as sqlite:///profiles.db or postgresql://user:password@host/database."
            ) from None
    if not str(place):
        raise ProfileStoreError("The database path is empty. Give a path or a database URL.")
    name = str(place) if str(place) == ":memory:" else str(Path(place).expanduser().absolute())
    return URL.create("sqlite", database=name)


def shown(url: URL) -> str:
    """Renders a URL without its password, and without options, which may hold one too."""
    if url.get_backend_name() == "sqlite" and not url.host:
        return url.database or ":memory:"
    return url.set(query={}).render_as_string(hide_password=True)


def store_error(url: URL, doing: str, cause: BaseException) -> ProfileStoreError:
    """Says what failed, in which database, why, and what to look at."""
    reason = str(cause.orig if isinstance(cause, DBAPIError) else cause).partition("\n")[0]
    if url.password:
        reason = reason.replace(str(url.password), "***")
    if isinstance(cause, ImportError):
        remedy = "Install the driver of that database."
    elif url.get_backend_name() == "sqlite":
        remedy = (
            "Check that the path can be written, is an SQLite file, and is not locked by another "
            "program; or name another database."
        )
    else:
        remedy = "Check the URL, that the server can be reached, and the rights of its user."
    return ProfileStoreError(f"Cannot {doing} in {shown(url)}: {reason}. {remedy}")


def connect_to(url: URL) -> Engine:
    """Makes an engine whose transactions see and count every version, on any database.

    SQLite files are opened in WAL mode, so that readers and a writer do not wait for each other;
    transactions with the option `WRITES` take the write lock when they begin, so that none reads
    a version that another is about to replace. The parent folder is created.

    Raises:
        OSError: The parent folder cannot be created.
        sqlalchemy.exc.SQLAlchemyError: The URL names no database that SQLAlchemy knows.
    """
    # Statement parameters hold the texts of preferences: they stay out of logs and errors.
    options: dict[str, Any] = {"hide_parameters": True}
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True, **options)
    options["connect_args"] = {"check_same_thread": False}
    if "timeout" not in url.query:
        options["connect_args"]["timeout"] = _SECONDS_TO_WAIT
    in_memory = _is_in_memory(url)
    if in_memory:
        # The database lives as long as its one connection, which threads take in turns.
        options |= {"poolclass": QueuePool, "pool_size": 1, "max_overflow": 0}
    elif url.database and not url.database.startswith("file:"):
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, **options)

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, record: object) -> None:  # noqa: ARG001 - SQLAlchemy's signature
        # Python's sqlite3 would begin transactions by itself, and later than `begin` below.
        connection.isolation_level = None
        # Damaged text reaches our reader, which names the user, and no other user is affected.
        connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        if not in_memory:
            # Refused at once, without waiting, while another process has the file open in the
            # older mode: that mode counts as well, and a later connection will change it.
            with suppress(OperationalError):
                connection.execute("PRAGMA journal_mode=WAL").close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _is_in_memory(url: URL) -> bool:
    return url.database in {None, "", ":memory:"} or url.query.get("mode") == "memory"
