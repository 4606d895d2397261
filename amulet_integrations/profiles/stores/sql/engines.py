"""The SQLAlchemy engines, and the options in which SQLite and PostgreSQL differ."""

from __future__ import annotations

import logging
from contextlib import suppress
from sqlite3 import OperationalError
from typing import Any

from sqlalchemy import Connection, Engine, QueuePool, create_engine, event
from sqlalchemy.engine import URL

from amulet_integrations.errors import MissingDependencyError

from .database_url import is_in_memory, is_sqlite

SECONDS_TO_WAIT = 30
"""Seconds that a writer waits for others to finish."""

SECONDS_OF_A_STATEMENT = 60
"""Seconds after which PostgreSQL gives a statement up.

A `statement_timeout` of the URL, the role or the database counts in place of that.
"""

_BEGIN = "amulet_begin"  # execution option: how a transaction begins in SQLite
_SQLITE_MODES: dict[str, dict[str, Any]] = {
    "read": {},
    "snapshot": {_BEGIN: "BEGIN"},
    "write": {_BEGIN: "BEGIN IMMEDIATE"},
}
_POSTGRES_MODES: dict[str, dict[str, Any]] = {
    "read": {"isolation_level": "READ COMMITTED"},
    "snapshot": {"isolation_level": "REPEATABLE READ"},
    # After waiting for a lock, a writer has to see what was committed meanwhile.
    "write": {"isolation_level": "READ COMMITTED"},
}
_POSTGRES_ARGUMENTS: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
    "application_name": "amulet-integrations",
    # By default it is the encoding of the database, in which the driver could not write all texts.
    "client_encoding": "utf8",
}
# Parameters contain the texts of preferences: they stay out of logs and errors.
_PRIVATE: dict[str, Any] = {"hide_parameters": True, "logging_name": "amulet"}


def connect_to(url: URL) -> dict[str, Engine]:
    """Makes engines that share one pool of connections.

    Returns:
        The engine for each mode. "read" is for single queries, "snapshot" shows one state of the
        database to all queries of a transaction, and "write" is for transactions that write.

    Raises:
        MissingDependencyError: The driver is not installed.
        sqlalchemy.exc.SQLAlchemyError: The URL has impossible options.
    """
    engine = _sqlite(url) if is_sqlite(url) else _postgres(url)
    modes = _SQLITE_MODES if is_sqlite(url) else _POSTGRES_MODES
    # At the level DEBUG, SQLAlchemy logs every row that it reads.
    logging.getLogger("sqlalchemy.engine.Engine.amulet").setLevel(logging.WARNING)
    return {mode: engine.execution_options(**options) for mode, options in modes.items()}


def _postgres(url: URL) -> Engine:
    arguments = {name: it for name, it in _POSTGRES_ARGUMENTS.items() if name not in url.query}
    # Behind a pooler such as PgBouncer, prepared statements get lost.
    arguments["prepare_threshold"] = None
    try:
        engine = create_engine(
            url,
            connect_args=arguments,
            pool_pre_ping=True,
            use_native_hstore=False,
            **_PRIVATE,
        )
    except ImportError as error:
        raise MissingDependencyError.for_extra("psycopg", "postgres") from error
    # A pooler may give each transaction another session, so it is set for the transaction only.
    timeout = (
        f"SELECT set_config('statement_timeout', '{SECONDS_OF_A_STATEMENT}s', true) "
        "WHERE current_setting('statement_timeout') = '0'"
    )

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(timeout).close()

    return engine


def _sqlite(url: URL) -> Engine:
    options: dict[str, Any] = {"connect_args": {"check_same_thread": False}, **_PRIVATE}
    if "timeout" not in url.query:
        options["connect_args"]["timeout"] = SECONDS_TO_WAIT
    in_memory = is_in_memory(url)
    if in_memory:
        # The database ends with its one connection, which the threads share.
        options |= {"poolclass": QueuePool, "pool_size": 1, "max_overflow": 0}
    engine = create_engine(url, **options)

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, record: object) -> None:  # noqa: ARG001 - SQLAlchemy's signature
        # Otherwise sqlite3 begins transactions by itself, and later than `begin` below.
        connection.isolation_level = None
        # Damaged text must not be an error here: the reader of the row names the user.
        connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        # What is deleted or replaced is overwritten with zeros.
        connection.execute("PRAGMA secure_delete=ON").close()
        if not in_memory:
            # Refused at once while another process has the file open in the older mode. That mode
            # will do, and a later connection will change it.
            with suppress(OperationalError):
                connection.execute("PRAGMA journal_mode=WAL").close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if statement := connection.get_execution_options().get(_BEGIN):
            connection.exec_driver_sql(statement)

    return engine
