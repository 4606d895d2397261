"""What is read and written in one transaction: profiles and their history, always together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, Table, delete, func, insert, select, update

from amulet_integrations.errors import CorruptProfileError
from amulet_integrations.profiles.characters import checked_label
from amulet_integrations.profiles.inheritance import line_of
from amulet_integrations.profiles.profile import PreferenceProfile
from amulet_integrations.profiles.stores.changes import ProfileChange
from amulet_integrations.profiles.stores.sql.damaged import is_sound, named, text_of
from amulet_integrations.profiles.stores.sql.importing import store_all
from amulet_integrations.profiles.stores.sql.locks import Locks
from amulet_integrations.profiles.stores.sql.rows import (
    FAULTS,
    Deed,
    body_of,
    change_of,
    profile_of,
    stamp_of,
    stored_profile,
    version_of,
)
from amulet_integrations.profiles.stores.sql.tables import LARGEST_VERSION, Tables
from amulet_integrations.profiles.stores.versions import Stamp, check_current, next_version


class Standing(NamedTuple):
    """How things stand with a user: the row of the profile, if any, and the last version."""

    row: Row[Any] | None
    last: int


class Records:
    """The statements of a store, each on a connection that is given.

    Args:
        tables: The tables.
        place: How the database is called in messages.
    """

    def __init__(self, tables: Tables, place: str) -> None:
        self._tables = tables
        self._profiles = tables.profiles
        self._changes = tables.changes
        self._locks = Locks(tables.prefix)
        self._place = place

    def profile(self, connection: Connection, user_id: str) -> PreferenceProfile | None:
        """The profile of a user.

        Raises:
            CorruptProfileError: The row is damaged.
        """
        row = self._row(connection, user_id)
        return None if row is None else stored_profile(row, self._place)

    def known_profile(self, connection: Connection, user_id: str) -> PreferenceProfile | None:
        """The profile of a user, as parents are looked up: of a damaged one nothing is known."""
        try:
            return self.profile(connection, user_id)
        except CorruptProfileError:
            return None

    def profiles(
        self, connection: Connection, user_ids: Iterable[str] | None
    ) -> list[PreferenceProfile]:
        """The profiles of some users, or of all, sorted by user id."""
        if user_ids is not None:
            found = (self.profile(connection, user_id) for user_id in sorted(set(user_ids)))
            return [profile for profile in found if profile is not None]
        rows = connection.execute(select(self._profiles)).all()
        rows = sorted(rows, key=lambda it: text_of(it.user_id))
        return [stored_profile(row, self._place) for row in rows]

    def user_ids(self, connection: Connection) -> list[str]:
        """Everyone who has a profile, sorted by code point."""
        return sorted({text_of(it) for it in connection.scalars(select(self._profiles.c.user_id))})

    def changes(
        self, connection: Connection, user_id: str, *, newest: int | None = None
    ) -> list[ProfileChange]:
        """The history of a user, oldest first."""
        mine = self._changes.c.user_id == user_id
        query = select(self._changes).where(mine).order_by(self._changes.c.version.desc())
        rows = connection.execute(query.limit(newest)).all()
        return [change_of(row) for row in reversed(rows)]

    def histories(
        self, connection: Connection, user_ids: Iterable[str] | None
    ) -> list[ProfileChange]:
        """The histories of some users, or of all, by user id, oldest first."""
        if user_ids is not None:
            wanted = sorted(set(user_ids))
            return [one for user_id in wanted for one in self.changes(connection, user_id)]
        changes = [change_of(row) for row in connection.execute(select(self._changes))]
        return sorted(changes, key=lambda change: (change.user_id, change.version))

    def change(self, connection: Connection, user_id: str, version: int) -> ProfileChange | None:
        """The change that made one version."""
        query = select(self._changes).where(
            self._changes.c.user_id == user_id, self._changes.c.version == version
        )
        row = connection.execute(query).one_or_none()
        return None if row is None else change_of(row)

    def restorable(self, connection: Connection, user_id: str) -> Sequence[int]:
        """The versions that have contents."""
        version = self._changes.c.version
        query = select(version).where(
            self._changes.c.user_id == user_id,
            self._changes.c.body.is_not(None),
            version.between(1, LARGEST_VERSION),
        )
        return connection.scalars(query.order_by(version)).all()

    def save(
        self,
        connection: Connection,
        profile: PreferenceProfile,
        deed: Deed,
        expected: Stamp | None = None,
    ) -> PreferenceProfile:
        """Stores a profile if `expected` (None: anything) is what is stored.

        Raises:
            ProfileConflictError: It is not.
            InvalidProfileError: The profile's parents form a circle.
        """
        self._locks.of_user(connection, profile.user_id)
        standing = self._standing(connection, profile.user_id)
        check_current(profile.user_id, expected, stamp_of(standing.row))
        self._check_parents(connection, profile, standing.row)
        return self._put(connection, profile, standing, deed)

    def save_all(
        self, connection: Connection, profiles: Sequence[PreferenceProfile], deed: Deed
    ) -> list[PreferenceProfile]:
        """Stores profiles over whatever is there; whoever calls it holds everyone's lock."""
        return store_all(connection, self._tables, profiles, deed)

    def delete(self, connection: Connection, user_id: str, by: str | None) -> bool:
        """Deletes a profile; False where there is none.

        Raises:
            InvalidProfileError: It is no user id, and no damaged row has it.
        """
        self._locks.of_user(connection, user_id)
        if not is_sound(user_id):
            # What is no user id has no history that anybody could read.
            return self._remove(connection, user_id, self._profiles)
        standing = self._standing(connection, user_id)
        if not self._remove(connection, user_id, self._profiles):
            return False
        now = datetime.now(UTC).isoformat()
        values = {"version": standing.last + 1, "changed_at": now, "body": None}
        self._note(connection, Deed("delete", by), user_id, **values)
        return True

    def erase(self, connection: Connection, user_id: str) -> bool:
        """Deletes a profile and its history; False where there was neither.

        Raises:
            InvalidProfileError: It is no user id, and no damaged row has it.
        """
        self._locks.of_user(connection, user_id)
        return self._remove(connection, user_id, self._profiles, self._changes)

    def lock_user(self, connection: Connection, user_id: str) -> None:
        """From here to the end of the transaction nobody else changes this profile."""
        self._locks.of_user(connection, user_id)

    def lock_everyone(self, connection: Connection) -> None:
        """From here to the end of the transaction nobody else changes a profile."""
        self._locks.of_everyone(connection)

    @staticmethod
    def _remove(connection: Connection, user_id: str, *tables: Table) -> bool:
        conditions = [(table, named(connection, table, user_id)) for table in tables]
        ran = [connection.execute(delete(table).where(those)) for table, those in conditions]
        if any(result.rowcount for result in ran):
            return True
        checked_label("user_id", user_id)
        return False

    def _row(
        self, connection: Connection, user_id: str, *, locked: bool = False
    ) -> Row[Any] | None:
        query = select(self._profiles).where(self._profiles.c.user_id == user_id)
        return connection.execute(query.with_for_update() if locked else query).one_or_none()

    def _standing(self, connection: Connection, user_id: str) -> Standing:
        # Processes with an earlier version of this package have no locks but those of rows.
        row = self._row(connection, user_id, locked=True)
        version = self._changes.c.version
        mine = self._changes.c.user_id == user_id
        noted = select(func.max(version)).where(mine, version.between(1, LARGEST_VERSION - 1))
        # Those processes count without a history, too.
        return Standing(row, max(connection.scalar(noted) or 0, version_of(row) if row else 0))

    def _check_parents(
        self, connection: Connection, profile: PreferenceProfile, row: Row[Any] | None
    ) -> None:
        if profile.parent in {None, _parent_of(row)}:
            return
        self._locks.of_parents(connection)
        line_of(profile, lambda user_id: self.known_profile(connection, user_id))

    def _put(
        self, connection: Connection, profile: PreferenceProfile, standing: Standing, deed: Deed
    ) -> PreferenceProfile:
        stored = next_version(profile, standing.last)
        now = stored.updated_at.isoformat() if stored.updated_at else ""
        body = body_of(stored)
        values = {"version": stored.version, "updated_at": now, "body": body}
        if standing.row is None:
            connection.execute(insert(self._profiles).values(user_id=stored.user_id, **values))
        else:
            its_row = self._profiles.c.user_id == stored.user_id
            connection.execute(update(self._profiles).where(its_row).values(values))
        self._note(
            connection, deed, stored.user_id, version=stored.version, changed_at=now, body=body
        )
        return stored

    def _note(self, connection: Connection, deed: Deed, user_id: str, **values: Any) -> None:
        command = insert(self._changes).values(user_id=user_id, **values)
        connection.execute(command.values(changed_by=deed.by, action=deed.action))


def _parent_of(row: Row[Any] | None) -> str | None:
    if row is None:
        return None
    try:
        return profile_of(row.user_id, 0, None, row.body).parent
    except FAULTS:
        return None
