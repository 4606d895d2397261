"""A real PostgreSQL server for tests, from the system's packages, on this machine only."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

NOT_INSTALLED = "PostgreSQL's server is not installed: apt-get install postgresql"
PASSWORD = "pa:ss/w@rd %41"
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

HANG_UP = (
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)

_SERVER_USER = "postgres"


def programs() -> Path | None:
    """The folder of the newest server that is installed."""
    if os.geteuid() == 0 and _SERVER_USER not in {one.pw_name for one in pwd.getpwall()}:
        return None
    versions = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(versions, key=lambda path: int(path.parts[-3]), default=None)
    found = newest or shutil.which("initdb")
    return Path(found).resolve().parent if found else None


class PostgresServer:
    """A server of its own with an empty data folder; the role `amulet` logs in by password.

    Args:
        folder: Where its data go; has to be free to its user.
        settings: Settings of the server; those that `change` may change.
    """

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        found = programs()
        assert found is not None
        self._programs, self._folder = found, folder
        self._data, self._numbers = folder / "data", count(1)
        self.port = 0
        self.reusable: str | None = None
        words = folder / "password"
        words.write_text(PASSWORD)
        if os.geteuid() == 0:
            for path in (folder, words):
                shutil.chown(path, _SERVER_USER)
        self._run(
            "initdb",
            *("--pgdata", str(self._data), "--username", "admin", "--pwfile", str(words)),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync"),
        )
        with (self._data / "postgresql.conf").open("a") as configuration:
            configuration.writelines(f"{name} = '{it}'\n" for name, it in settings.items())
        self.start()
        self.execute(f"CREATE ROLE amulet LOGIN PASSWORD '{PASSWORD}'")

    def start(self) -> None:
        """Starts it, on the port that it had."""
        ports = [self.port] if self.port else [_free_port() for _ in range(5)]
        for port in ports:
            options = {
                "listen_addresses": "127.0.0.1",
                "port": str(port),
                "unix_socket_directories": "",
                "max_connections": "200",
                "shared_buffers": "16MB",
            }
            command = " ".join(f"-c {name}='{value}'" for name, value in options.items())
            log = str(self._folder / "log")
            try:
                self._run("pg_ctl", "start", "-w", "-D", str(self._data), "-l", log, "-o", command)
            except RuntimeError:
                if port == ports[-1]:
                    raise
            else:
                self.port = port
                return

    def stop(self, mode: str = "fast") -> None:
        """Stops it; "immediate" is as if it had crashed."""
        self._run("pg_ctl", "stop", "-w", "-D", str(self._data), "-m", mode)

    def change(self, settings: dict[str, str]) -> None:
        """Changes its settings, and waits until they apply; starts it if it is down."""
        if not self.is_running():
            self.start()
        changes = [f"ALTER SYSTEM SET {name} = '{it}'" for name, it in settings.items()]
        self.execute(*changes, "SELECT pg_reload_conf()")
        deadline = time.monotonic() + 60
        while any(self.execute(f"SHOW {name}") != [(it,)] for name, it in settings.items()):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def is_running(self) -> bool:
        """Whether the server runs."""
        command = [str(self._programs / "pg_ctl"), "status", "-D", str(self._data)]
        return self._as_its_user(command).returncode == 0

    def execute(self, *commands: str, database: str = "postgres") -> list[tuple]:
        """Runs statements as the administrator; the rows of the last one."""
        with self.connect("admin", database) as connection:
            for command in commands:
                rows = connection.execute(command)
            return rows.fetchall() if rows.description else []

    def connect(self, user: str = "amulet", database: str = "postgres") -> psycopg.Connection:
        """A plain connection, without transactions."""
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=user,
            password=PASSWORD,
            dbname=database,
            autocommit=True,
        )

    def url(self, database: str, user: str = "amulet", password: str = PASSWORD) -> str:
        """The URL of a database."""
        words = quote(password, safe="")
        return f"postgresql://{user}:{words}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Makes an empty database that the role `amulet` owns, and returns its name."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} OWNER amulet TEMPLATE template0")
        return name

    def empty(self, database: str) -> None:
        """Makes a database as empty as a new one, which is far quicker than making one."""
        with self.connect("admin", database) as connection:
            connection.execute(HANG_UP)
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public AUTHORIZATION amulet")

    def hang_up(self, database: str) -> int:
        """Ends all connections of others to a database, and counts them."""
        return len(self.execute(HANG_UP, database=database))

    def _run(self, program: str, *arguments: str) -> None:
        ran = self._as_its_user([str(self._programs / program), *arguments])
        if ran.returncode:
            raise RuntimeError(f"{program} failed: {(self._folder / 'output').read_text()[-2000:]}")

    def _as_its_user(self, command: list[str]) -> subprocess.CompletedProcess:
        # The server refuses to be run by root.
        user = {"user": _SERVER_USER, "extra_groups": []} if os.geteuid() == 0 else {}
        # Into a file: a pipe would stay open as long as the server.
        with (self._folder / "output").open("ab") as output:
            return subprocess.run(
                command,
                check=False,
                cwd=self._folder,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=120,
                **user,
            )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A server, as fast as it can be."""
    if programs() is None:
        pytest.skip(NOT_INSTALLED)
    # Not below pytest's own folders, which only their owner may enter.
    folder = Path(tempfile.mkdtemp(prefix="amulet-postgres-"))
    try:
        server = PostgresServer(folder, FAST)
        yield server
        if server.is_running():
            server.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _database(server: PostgresServer) -> str:
    if server.reusable is None:
        server.reusable = server.new_database()
        return server.url(server.reusable)
    try:
        server.empty(server.reusable)
    except psycopg.OperationalError:
        # A test that failed half-way has left it down.
        server.change(FAST)
        server.empty(server.reusable)
    return server.url(server.reusable)


@pytest.fixture
def durable_postgres_server(postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    """The same server, with durable settings; to be killed."""
    postgres_server.change(DURABLE)
    yield postgres_server
    postgres_server.change(FAST)


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """The URL of an empty database; all connections of earlier tests to it have ended."""
    return _database(postgres_server)


@pytest.fixture
def durable_postgres_url(durable_postgres_server: PostgresServer) -> str:
    """As `postgres_url`, on the server that may be killed."""
    return _database(durable_postgres_server)
