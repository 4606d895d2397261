"""Which database a user means, and how it is told without its password."""

from __future__ import annotations

import uuid
from pathlib import Path

import platformdirs
from sqlalchemy import make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError

from amulet_integrations.errors import ProfileStoreError

POSTGRES_DRIVER = "postgresql+psycopg"

_HOW = "Write it as sqlite:///profiles.db or postgresql://user:password@host/database."
_POSTGRES_NAMES = {"postgresql", "postgres", POSTGRES_DRIVER}
_SQLITE_NAMES = {"sqlite", "sqlite+pysqlite"}


def default_path() -> Path:
    """The SQLite file that is used where no database is named."""
    return Path(platformdirs.user_data_dir("amulet-integrations")) / "profiles.db"


def database_url(place: str | Path) -> URL:
    """Reads a database URL, or makes one of the path of an SQLite file.

    Args:
        place: A URL such as ``postgresql://ann:secret@db/profiles``, a path, or ``:memory:``.

    Returns:
        The URL, with the driver that is used. A path becomes absolute, so that a later change of
        directory does not matter.

    Raises:
        ProfileStoreError: A URL that cannot be read, of a database that is none of ours, or an
            empty string.
    """
    if isinstance(place, str) and "://" in place:
        return _read_url(place)
    if not str(place):
        raise ProfileStoreError("The database path is empty. Give a path or a database URL.")
    name = str(place) if str(place) == ":memory:" else str(Path(place).expanduser().absolute())
    return URL.create("sqlite", database=name)


def is_sqlite(url: URL) -> bool:
    """Whether it is an SQLite database; else it is PostgreSQL."""
    return url.get_backend_name() == "sqlite"


def is_in_memory(url: URL) -> bool:
    """Whether the database ends with its connection."""
    return url.database in {None, "", ":memory:"} or url.query.get("mode") == "memory"


def shown(url: URL) -> str:
    """Renders a URL without its password, and without options, which may hold one too."""
    if is_sqlite(url) and not url.host:
        return url.database or ":memory:"
    plain = url.set(query={}, drivername=url.get_backend_name())
    return plain.render_as_string(hide_password=True)


def secrets_of(url: URL) -> set[str]:
    """What no message may tell: the passwords in a URL."""
    options = [
        one
        for name, value in url.query.items()
        if "password" in name.lower()
        for one in ([value] if isinstance(value, str) else value)
    ]
    return {one for one in (url.password and str(url.password), *options) if one}


def place_of(url: URL) -> str:
    """A name of the database itself: equal for two URLs of one database, without secrets."""
    if not is_sqlite(url):
        host = url.query.get("host", (url.host or "").lower())
        port = url.query.get("port", url.port) or 5432
        return f"postgresql://{host}:{port}/{url.database or url.username or ''}"
    path = (url.database or "").removeprefix("file:")
    if not is_in_memory(url):
        return f"sqlite:///{Path(path).resolve()}"
    # Without a name to share it by, each connection is a database of its own.
    shared = path if url.query.get("cache") == "shared" and path != ":memory:" else uuid.uuid4().hex
    return f"sqlite:///:memory:{shared}"


def _read_url(place: str) -> URL:
    scheme = place.partition("://")[0]
    try:
        url = make_url(place)
    except (ArgumentError, ValueError):
        # Neither the URL nor the cause is shown: a password may be in there.
        url = None
    if url is None:
        raise ProfileStoreError(
            f"The database URL that begins with {scheme}:// cannot be read. {_HOW}"
        )
    if url.drivername in _POSTGRES_NAMES:
        return url.set(drivername=POSTGRES_DRIVER)
    if url.drivername in _SQLITE_NAMES:
        return url
    raise ProfileStoreError(
        f"Profiles are kept in SQLite or PostgreSQL (by psycopg), not by {url.drivername}. {_HOW}"
    )
