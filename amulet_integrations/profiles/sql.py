"""Profiles kept in a database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic_core import from_json
from sqlalchemy import (
    Column,
    Connection,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    Text,
    delete,
    false,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from amulet_integrations.errors import AmuletError, CorruptProfileError, ProfileStoreError
from amulet_integrations.profiles.characters import LONGEST_LABEL, checked_label
from amulet_integrations.profiles.database import (
    WRITES,
    connect_to,
    database_url,
    default_path,
    shown,
    store_error,
)
from amulet_integrations.profiles.profile import PreferenceProfile
from amulet_integrations.profiles.store import check_profile, next_version

_metadata = MetaData()
_profiles = Table(
    "amulet_profiles",
    _metadata,
    Column("user_id", String(LONGEST_LABEL), primary_key=True),
    Column("version", Integer, nullable=False),
    # ISO 8601 with its offset: not every database keeps time zones and microseconds.
    Column("updated_at", String(32), nullable=False),
    # JSON of everything else, as text, so that a damaged row is found by our own reader.
    Column("body", Text, nullable=False),
)
_LARGEST_VERSION = 2**31 - 1


class SqlProfileStore:
    """A `ProfileStore` in any database that SQLAlchemy reaches; by default an SQLite file.

    Many threads and several processes may use the same database at once: no version is lost. User
    ids are compared as the database compares text: exactly in SQLite and PostgreSQL. Where the
    default ignores case (MySQL, SQL Server), create the database with a binary collation.

    Args:
        url: A database URL (``postgresql://…``, ``sqlite:///…``), the path of an SQLite file, or
            ``:memory:``. By default ``profiles.db`` in the user's data folder. The folder and the
            table `amulet_profiles` are created where they are missing.

    Raises:
        ProfileStoreError: The database cannot be opened and written.
    """

    def __init__(self, url: str | Path | None = None) -> None:
        self._url = database_url(default_path() if url is None else url)
        self._closed = False
        try:
            self._engine = connect_to(self._url)
            self._writer = self._engine.execution_options(**{WRITES: True})
            with self._writer.begin() as connection:
                _metadata.create_all(connection)
                # Deletes nothing, but fails here and now where nothing can be written.
                connection.execute(delete(_profiles).where(false()))
        # Drivers refuse options that they do not know with a TypeError or ValueError.
        except (SQLAlchemyError, ImportError, OSError, TypeError, ValueError) as error:
            raise store_error(self._url, "open the profiles", error) from error

    def save(self, profile: PreferenceProfile) -> PreferenceProfile:
        """Stores a profile in place of the user's earlier one; see `ProfileStore.save`.

        Raises:
            ProfileStoreError: The database cannot be written.
        """
        check_profile(profile)
        with self._errors_are_ours("save a profile"):
            try:
                return self._save(profile)
            except IntegrityError:
                # Another process inserted the user's first profile meanwhile: now it is there.
                return self._save(profile)

    def get(self, user_id: str) -> PreferenceProfile | None:
        """Returns the user's profile, or None; see `ProfileStore.get`.

        Raises:
            CorruptProfileError: What the database holds for the user is not a profile.
            ProfileStoreError: The database cannot be read.
        """
        query = select(_profiles).where(_profiles.c.user_id == checked_label("user_id", user_id))
        with self._errors_are_ours("read a profile"), self._engine.begin() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else self._read(row)

    def delete(self, user_id: str) -> bool:
        """Deletes the user's profile; False where there was none; see `ProfileStore.delete`.

        Raises:
            ProfileStoreError: The database cannot be written.
        """
        command = delete(_profiles).where(_profiles.c.user_id == checked_label("user_id", user_id))
        with self._errors_are_ours("delete a profile"), self._writer.begin() as connection:
            return connection.execute(command).rowcount > 0

    def user_ids(self) -> list[str]:
        """Lists everyone who has a profile, sorted by code point.

        Raises:
            ProfileStoreError: The database cannot be read.
        """
        with self._errors_are_ours("list the profiles"), self._engine.begin() as connection:
            return sorted(connection.scalars(select(_profiles.c.user_id)))

    def close(self) -> None:
        """Closes all connections; the store cannot be used afterwards. May be called twice."""
        self._closed = True
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"SqlProfileStore({shown(self._url)!r})"

    def _save(self, profile: PreferenceProfile) -> PreferenceProfile:
        its_row = _profiles.c.user_id == profile.user_id
        with self._writer.begin() as connection:
            previous = _previous_version(connection, profile.user_id)
            stored = next_version(profile, previous or 0)
            values = {
                "version": stored.version,
                "updated_at": stored.updated_at and stored.updated_at.isoformat(),
                "body": stored.model_dump_json(exclude={"user_id", "version", "updated_at"}),
            }
            if previous is None:
                connection.execute(insert(_profiles).values(user_id=stored.user_id, **values))
            else:
                connection.execute(update(_profiles).where(its_row).values(values))
        return stored

    def _read(self, row: Row[Any]) -> PreferenceProfile:
        try:
            return PreferenceProfile(
                **_body_of(row), user_id=row.user_id, version=row.version, updated_at=row.updated_at
            )
        except (AmuletError, TypeError, ValueError) as error:
            raise CorruptProfileError(
                f"What {shown(self._url)} holds for user {row.user_id!r} is not a profile "
                f"({error}). Save a new profile over it, or delete it: "
                f"store.delete({row.user_id!r}), or amulet profile remove."
            ) from error

    @contextmanager
    def _errors_are_ours(self, doing: str) -> Iterator[None]:
        if self._closed:
            raise ProfileStoreError(f"Cannot {doing}: {self!r} is closed. Open the store anew.")
        try:
            yield
        except SQLAlchemyError as error:
            raise store_error(self._url, doing, error) from error


def _previous_version(connection: Connection, user_id: str) -> int | None:
    """The version in the row of a user: None without a row, 0 where the row is damaged."""
    query = select(_profiles.c.version).where(_profiles.c.user_id == user_id).with_for_update()
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    sound = isinstance(row.version, int) and 0 <= row.version < _LARGEST_VERSION
    return row.version if sound else 0


def _body_of(row: Row[Any]) -> dict[str, Any]:
    body = from_json(row.body)
    if isinstance(body, dict):
        return body
    raise TypeError(f"its body is a JSON {type(body).__name__}, not an object")
