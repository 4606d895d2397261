"""The URL of a database: how it is read, and how it is shown without its password."""

from __future__ import annotations

import errno
import os
import re
import uuid
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, unquote

from sqlalchemy import make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError

from amulet_integrations.errors import ProfileStoreError
from amulet_integrations.files import with_home

POSTGRES_DRIVER = "postgresql+psycopg"

_HOW = "Write it as sqlite:///profiles.db or postgresql://user:password@host/database."
_POSTGRES_NAMES = {"postgresql", "postgres", POSTGRES_DRIVER}
_SQLITE_NAMES = {"sqlite", "sqlite+pysqlite"}
FILE_SCHEME = "file:"
"""Begins the names that SQLite reads as URIs."""

# A scheme has at least two letters, because C: is a drive.
_LOOKS_LIKE_URL = re.compile(r"\s*[a-z][a-z0-9+.-]+:", re.IGNORECASE)
_CONTAINS_PASSWORD = re.compile(r"[^/\s]:[^/]*@")
_SHORT = 4  # a password of fewer characters may be part of any word


def database_url(place: str | Path) -> URL:
    """Reads a database URL, or makes one of the path of an SQLite file.

    Args:
        place: A URL such as ``postgresql://ann:secret@db/profiles``, a path, or ``:memory:``.

    Returns:
        The URL, with the driver that is used. A relative path becomes absolute, also in a URL, so
        that it does not depend on the current directory later.

    Raises:
        ProfileStoreError: The URL cannot be read, names another kind of database, or is empty.
    """
    if isinstance(place, str) and "://" in place:
        return _read_url(place)
    if not str(place):
        raise ProfileStoreError("The database path is empty. Give a path or a database URL.")
    if str(place) != ":memory:":
        _check_path(str(place))
        place = _without_tilde(place)
    return _with_possible_file(URL.create("sqlite", database=str(place)))


def _without_tilde(place: str | Path) -> Path:
    """The absolute path of a file."""
    path = with_home(place)
    if str(path).startswith("~"):
        raise ProfileStoreError(
            f"The database file {str(place)!r:.80} is in the home folder of a user whom this "
            "machine does not know. Write the folder out."
        )
    return path.absolute()


def is_sqlite(url: URL) -> bool:
    """Whether the database is SQLite; otherwise it is PostgreSQL."""
    return url.get_backend_name() == "sqlite"


def is_in_memory(url: URL) -> bool:
    """Whether the database ends with its connection."""
    name = (url.database or "").removeprefix(FILE_SCHEME)
    in_options = url.query.get("mode") == "memory" or url.query.get("vfs") == "memdb"
    return name in {"", ":memory:"} or in_options


def shown_url(url: URL) -> str:
    """Renders a URL without its password, and without options, which may contain one too."""
    if is_sqlite(url) and not url.host:
        return url.database or ":memory:"
    plain = url.set(query={}, drivername=url.get_backend_name())
    return plain.render_as_string(hide_password=True)


def hide_secrets(text: str, url: URL) -> str:
    """Masks the passwords of a URL in a text; a very short one only if it stands alone."""
    secrets = {str(url.password or "")}
    for name, value in url.query.items():
        if "password" in name.lower():
            secrets.update([value] if isinstance(value, str) else value)
    for secret in sorted(secrets - {""}, key=len, reverse=True):
        pattern = re.escape(secret)
        if len(secret) < _SHORT:
            pattern = rf"(?<!\w){pattern}(?!\w)"
        text = re.sub(pattern, "***", text)
    return text


def place_of(url: URL) -> str:
    """Names the database itself, without secrets: equal for all URLs of one database."""
    if not is_sqlite(url):
        host = url.query.get("host", (url.host or "").lower())
        port = url.query.get("port", url.port) or 5432
        return f"postgresql://{host}:{port}/{url.database or url.username or ''}"
    if is_in_memory(url):
        return f"sqlite:///:memory:{uuid.uuid4().hex}"
    return f"sqlite:///{sqlite_path(url).resolve()}"


def sqlite_path(url: URL) -> Path:
    """The path of the file of an SQLite database, which is not in memory."""
    path = url.database or ""
    if path.startswith(FILE_SCHEME):
        path = unquote(path.removeprefix(FILE_SCHEME))
    return Path(path)


def _check_path(path: str) -> None:
    """Refuses a mistyped URL, whose password would become the name of a folder."""
    if _LOOKS_LIKE_URL.match(path) or _CONTAINS_PASSWORD.search(path):
        # It is not quoted, since it may contain a password.
        raise ProfileStoreError(
            "The database looks like a URL, but has no :// after the scheme. "
            f"{_HOW} A file whose name has a colon is given as ./name."
        )


def _read_url(place: str) -> URL:
    url = None
    # The cause is dropped, since it may quote the password.
    with suppress(ArgumentError, ValueError):
        url = make_url(place)
    if url is None or not _is_encodable(url):
        scheme = place.partition("://")[0]
        raise ProfileStoreError(
            f"The database URL that begins with {scheme}:// cannot be read. {_HOW}"
        )
    if url.drivername in _POSTGRES_NAMES:
        return url.set(drivername=POSTGRES_DRIVER)
    if url.drivername in _SQLITE_NAMES:
        return _with_possible_file(_read_sqlite_url(url))
    raise ProfileStoreError(
        f"Profiles are kept in SQLite or PostgreSQL (by psycopg), not by {url.drivername}. {_HOW}"
    )


def _is_encodable(url: URL) -> bool:
    """Whether the URL can be sent to a server; names of files are checked for themselves."""
    try:
        url.render_as_string(hide_password=False)
    except UnicodeEncodeError:
        return False
    return True


def _with_possible_file(url: URL) -> URL:
    """Refuses the name of a file that no file can have."""
    if is_in_memory(url):
        return url
    path = sqlite_path(url)
    try:
        os.lstat(path)
    except ValueError:
        problem = "has a character that no file name can have (NUL or half of a surrogate pair)"
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            return url  # whether it can be made is found out later
        problem = "is too long"
    else:
        return url
    raise ProfileStoreError(f"The name of the database file {path.name[:80]!r} {problem}.")


def _read_sqlite_url(url: URL) -> URL:
    if "shared" in (url.query.get("cache") or ()):
        raise ProfileStoreError(
            "Connections that share a cache (cache=shared) do not wait for each other. "
            "Use a file: sqlite:///profiles.db"
        )
    name = url.database or ""
    if is_in_memory(url):
        return url
    if not name.startswith(FILE_SCHEME) or "uri" not in url.query:
        return url.set(database=str(Path(name).absolute()))
    if Path(name := name.removeprefix(FILE_SCHEME)).is_absolute():
        return url
    return url.set(database=f"{FILE_SCHEME}{quote(Path.cwd().as_posix())}/{name}")
