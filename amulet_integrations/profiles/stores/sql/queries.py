"""The queries of a store: they read and write profiles and their history together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, NamedTuple

from sqlalchemy import Column, Connection, Row, Select, Table, delete, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from amulet_integrations.errors import CorruptProfileError, InvalidProfileError
from amulet_integrations.profiles.field_types import checked_label, is_label
from amulet_integrations.profiles.inheritance import line_of, parent_changed
from amulet_integrations.profiles.profile import Action, PreferenceProfile, ProfileChange
from amulet_integrations.profiles.profile_limits import ProfileLimits
from amulet_integrations.profiles.stores.transfer import check_found, checked_order, to_json
from amulet_integrations.profiles.stores.versions import Version, check_current, next_version

from .advisory_locks import AdvisoryLocks
from .profile_rows import change_of, has_id, id_text, profile_of, row_of, version_of
from .schema import LARGEST_VERSION, Tables

IDS_PER_QUERY = 500
"""Most user ids in one query; drivers have a limit."""

_MOST_RANGES = 20  # of versions that a message names


class CurrentRow(NamedTuple):
    """The version in the row of a user's profile, and the user's last version of all time."""

    version: Version = Version(0)
    last_version: int = 0


class Queries:
    """The queries on one connection, to be run within one transaction.

    Args:
        connection: The connection.
        tables: The tables.
        place: The name of the database, for messages.
        by: Who makes the changes, for the history.
        limits: What profiles must not exceed.
    """

    def __init__(
        self,
        connection: Connection,
        tables: Tables,
        place: str,
        by: str | None,
        limits: ProfileLimits,
    ) -> None:
        self._connection = connection
        self._profiles = tables.profiles
        self._changes = tables.changes
        self._place = place
        self._by = by
        self._limits = limits
        self._locks = AdvisoryLocks(connection, tables.prefix)

    def profile(self, user_id: str) -> PreferenceProfile | None:
        """Reads the profile of a user.

        Raises:
            CorruptProfileError: The row is damaged.
        """
        return next(iter(self.profiles([user_id])), None)

    def sound_profile(self, user_id: str) -> PreferenceProfile | None:
        """Reads the profile of a user; None also if the row is damaged."""
        try:
            return self.profile(user_id)
        except CorruptProfileError:
            return None

    def profiles(self, user_ids: Sequence[str] | None) -> list[PreferenceProfile]:
        """Reads the profiles of some users, or of all, sorted by user id.

        Raises:
            CorruptProfileError: A row is damaged.
        """
        rows = self._rows(select(self._profiles), self._profiles.c.user_id, user_ids)
        rows_by_id = sorted(rows, key=lambda row: id_text(row.user_id))
        return [profile_of(row, self._place) for row in rows_by_id]

    def user_ids(self) -> list[str]:
        """Lists everyone who has a profile, sorted by code point."""
        user_ids = self._connection.scalars(select(self._profiles.c.user_id))
        return sorted({id_text(user_id) for user_id in user_ids})

    def changes(
        self,
        user_ids: Sequence[str] | None,
        *,
        newest: int | None = None,
        version: int | None = None,
    ) -> list[ProfileChange]:
        """Reads the histories of some users, or of all, by user id and with the oldest first.

        Args:
            user_ids: The users; None for all.
            newest: At most so many changes, the newest ones. Only for a single user.
            version: Only the change that made this version; None for all.
        """
        table = self._changes
        query = select(table).order_by(table.c.version.desc()).limit(newest)
        if version is not None:
            query = query.where(table.c.version == version)
        rows = list(self._rows(query, table.c.user_id, user_ids))
        return sorted(map(change_of, reversed(rows)), key=lambda change: change.user_id)

    def export(self, user_ids: Sequence[str] | None, *, history: bool) -> str:
        """Writes the profiles of some users, or of all, as JSON; their history only if wanted.

        Raises:
            InvalidProfileError: Nothing is stored for one of the users.
            CorruptProfileError: A row is damaged.
        """
        profiles = self.profiles(user_ids)
        changes = self.changes(user_ids) if history else None
        if user_ids is not None:
            check_found(user_ids, {one.user_id for one in (*profiles, *(changes or ()))})
        return to_json(profiles, changes)

    def save(
        self, profile: PreferenceProfile, action: Action, expected: Version | None = None
    ) -> PreferenceProfile:
        """Stores a profile over the expected version (None: over any version).

        Raises:
            ProfileConflictError: Another version is stored.
            ProfileLimitError: The profile exceeds a limit.
            InvalidProfileError: The profile's parents form a circle.
        """
        user_id = profile.user_id
        self._locks.user(user_id)
        current = self._current_rows([user_id])
        check_current(user_id, expected, current[user_id].version)
        self._limits.check_saved(profile, lambda: self.sound_profile(user_id))
        if profile.parent and parent_changed(profile, self.sound_profile(user_id)):
            self._locks.parents()
            line_of(profile, self.sound_profile, self._limits)
        return self._put([profile], current, action)[0]

    def import_all(self, profiles: Sequence[PreferenceProfile]) -> list[PreferenceProfile]:
        """Stores profiles of different users over whatever is there.

        Raises:
            ProfileLimitError: A profile exceeds a limit, or a parent may not be one.
            InvalidProfileError: Parents would form a circle.
        """
        self._locks.everyone()
        checked_order(profiles, self.sound_profile, self._limits)
        current = self._current_rows([profile.user_id for profile in profiles])
        return self._put(profiles, current, "import")

    def restore(
        self, user_id: str, version: int, expected: Version | None = None
    ) -> PreferenceProfile:
        """Stores a version of a profile from its history once more, as `save` does.

        Raises:
            ProfileConflictError: Another version than the expected one is stored.
            InvalidProfileError: There is no such version, or it is a deletion.
            CorruptProfileError: The entry in the history is damaged.
        """
        # The lock comes first: what is erased meanwhile must not come back.
        self._locks.user(user_id)
        return self.save(self._version_to_restore(user_id, version), "restore", expected)

    def delete(self, user_id: str, expected: Version | None = None) -> bool:
        """Deletes a profile of the expected version (None: of any); False if there is none.

        Raises:
            ProfileConflictError: Another version is stored.
            InvalidProfileError: The user id is not valid, and no damaged row has it.
        """
        self._locks.user(user_id)
        if not is_label(user_id):
            # No history can be read by such an id.
            return self._remove(user_id, self._profiles)
        current = self._current_rows([user_id])[user_id]
        check_current(user_id, expected, current.version)
        version = current.last_version + 1
        if not self._remove(user_id, self._profiles):
            return False
        now = datetime.now(UTC).isoformat()
        row = {"user_id": user_id, "version": version, "updated_at": now, "body": None}
        self._record([row], "delete")
        return True

    def erase(self, user_id: str, expected: Version | None = None) -> bool:
        """Deletes a profile and its history; False if there was neither.

        Raises:
            ProfileConflictError: Another version than the expected one is stored.
            InvalidProfileError: The user id is not valid, and no damaged row has it.
        """
        self._locks.user(user_id)
        if expected is not None:
            check_current(user_id, expected, self._current_rows([user_id])[user_id].version)
        return self._remove(user_id, self._profiles, self._changes)

    def _version_to_restore(self, user_id: str, version: int) -> PreferenceProfile:
        """Reads a version of a profile from its history; see `restore`."""
        change = next(iter(self.changes([user_id], version=version)), None)
        if change is not None and change.profile is not None:
            return change.profile
        if change is not None and change.problem is not None:
            raise CorruptProfileError(
                f"Version {version} of {user_id!r} cannot be restored: its entry in the history is "
                f"damaged ({change.problem}). Restore another one."
            )
        missing = "is a deletion" if change is not None else "does not exist"
        restorable = {one.version for one in self.changes([user_id]) if one.profile}
        there = _ranges(sorted(restorable))
        choice = (
            f"Versions that can be restored: {there}." if there else "There is none to restore."
        )
        raise InvalidProfileError(f"version={version} of {user_id!r} {missing}. {choice}")

    def _remove(self, user_id: str, *tables: Table) -> bool:
        conditions = [(table, has_id(self._connection, table, user_id)) for table in tables]
        results = [self._connection.execute(delete(table).where(it)) for table, it in conditions]
        if any(result.rowcount for result in results):
            return True
        checked_label("user_id", user_id)
        return False

    def _rows(
        self, query: Select[Any], column: Column[Any], user_ids: Sequence[str] | None
    ) -> Iterator[Row[Any]]:
        """Runs a query for some users, or for all."""
        if user_ids is None:
            yield from self._connection.execute(query)
            return
        for start in range(0, len(user_ids), IDS_PER_QUERY):
            some = user_ids[start : start + IDS_PER_QUERY]
            yield from self._connection.execute(query.where(column.in_(some)))

    def _current_rows(self, user_ids: Sequence[str]) -> dict[str, CurrentRow]:
        current = dict.fromkeys(user_ids, CurrentRow())
        # Processes with an earlier version of this package have no locks but those of rows ...
        locked = select(self._profiles).with_for_update()
        for row in self._rows(locked, self._profiles.c.user_id, user_ids):
            number = version_of(row)
            current[row.user_id] = CurrentRow(Version.read(number, row.updated_at), number)
        user_id, version = self._changes.c.user_id, self._changes.c.version
        newest = select(user_id, func.max(version).label("last_version")).group_by(user_id)
        newest = newest.where(version.between(1, LARGEST_VERSION - 1))
        for changed in self._rows(newest, user_id, user_ids):
            # ... and write no history.
            known = current[changed.user_id]
            last_version = max(changed.last_version, known.last_version)
            current[changed.user_id] = known._replace(last_version=last_version)
        return current

    def _put(
        self, profiles: Sequence[PreferenceProfile], current: dict[str, CurrentRow], action: Action
    ) -> list[PreferenceProfile]:
        if not profiles:
            return []
        stored = [next_version(one, current[one.user_id].last_version) for one in profiles]
        rows = [row_of(one) for one in stored]
        dialect = postgresql if self._connection.dialect.name == "postgresql" else sqlite
        upsert = dialect.insert(self._profiles)
        new = {name: upsert.excluded[name] for name in ("version", "updated_at", "body")}
        upsert = upsert.on_conflict_do_update(index_elements=["user_id"], set_=new)
        self._connection.execute(upsert, rows)
        self._record(rows, action)
        return stored

    def _record(self, rows: Sequence[dict[str, object]], action: Action) -> None:
        """Adds rows, as `row_of` makes them, to the history."""
        more = {"changed_by": self._by, "action": action}
        changes = [{"changed_at": row.pop("updated_at"), **row, **more} for row in rows]
        self._connection.execute(insert(self._changes), changes)


def _ranges(numbers: Sequence[int]) -> str:
    """Writes sorted numbers as ranges, such as "1-3, 5". Of very many ranges, the last ones."""
    ranges = []
    for _, group in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        first, *more = (number for _, number in group)
        ranges.append(f"{first}-{more[-1]}" if more else str(first))
    return ", ".join((["…"] if len(ranges) > _MOST_RANGES else []) + ranges[-_MOST_RANGES:])
