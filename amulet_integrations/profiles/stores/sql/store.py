"""Profiles kept in a database."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Self, TypeVar

from sqlalchemy import Connection

from amulet_integrations.profiles.characters import checked_label
from amulet_integrations.profiles.profile import PreferenceProfile
from amulet_integrations.profiles.stores import transfer
from amulet_integrations.profiles.stores.base import Update
from amulet_integrations.profiles.stores.changes import ProfileChange
from amulet_integrations.profiles.stores.invalidation import announce
from amulet_integrations.profiles.stores.sql.async_forms import SqlAsyncForms
from amulet_integrations.profiles.stores.sql.damaged import check_name
from amulet_integrations.profiles.stores.sql.database import Database, Work
from amulet_integrations.profiles.stores.sql.locks import Locks
from amulet_integrations.profiles.stores.sql.migration import migrate
from amulet_integrations.profiles.stores.sql.queue import Queue
from amulet_integrations.profiles.stores.sql.records import Records
from amulet_integrations.profiles.stores.sql.restoring import checked_number, version_to_restore
from amulet_integrations.profiles.stores.sql.rows import Deed
from amulet_integrations.profiles.stores.sql.tables import Tables
from amulet_integrations.profiles.stores.versions import Stamp, based_on, check_profile, updated

T = TypeVar("T")


class SqlProfileStore(SqlAsyncForms):
    """A `ProfileStore` in SQLite or PostgreSQL, with the history of every profile.

    Many threads and several processes may use the same database at once: no change is lost, and
    versions are counted without a gap. Each change is stored together with its entry in the
    history, or not at all. Each method has an async form: `asave` and so on.

    Args:
        url: A database URL (``postgresql://…``, ``sqlite:///…``), the path of an SQLite file, or
            ``:memory:``. By default ``profiles.db`` in the user's data folder. PostgreSQL needs
            the extra `postgres`. The folder and the tables are created where they are missing,
            and tables of earlier versions of this package are brought up to date.
        table_prefix: What the names of the tables begin with, so that they may stand in a
            database of yours: `amulet_profiles`, `amulet_profile_changes` and
            `amulet_alembic_version`.

    Raises:
        MissingDependencyError: The driver of PostgreSQL is not installed.
        ProfileStoreError: The database cannot be opened, or was written by a newer version of
            this package.
    """

    def __init__(self, url: str | Path | None = None, *, table_prefix: str = "amulet_") -> None:
        tables = Tables(table_prefix)
        self._database = database = Database(url)
        self._prefix = table_prefix
        self._records = Records(tables, database.name)
        self._queue = Queue(database, Locks(table_prefix))
        try:
            database.opening(lambda: migrate(database, tables))
        except BaseException:
            database.close()
            raise

    @property
    def place(self) -> str:
        """Where the profiles are: equal for two stores of one database and one prefix."""
        return f"{self._database.place}#{self._prefix}"

    def save(self, profile: PreferenceProfile, *, by: str | None = None) -> PreferenceProfile:
        """Stores a profile in place of the user's earlier one; see `ProfileStore.save`.

        Args:
            profile: The profile.
            by: Who makes the change, for the history; 1 to 256 characters.

        Raises:
            ProfileConflictError: Another version is stored by now, or none any more.
            InvalidProfileError: It is no profile, or its parents form a circle.
            ProfileStoreError: The database cannot be written.
        """
        return self._save(check_profile(profile), based_on(profile), by)

    def get(self, user_id: str) -> PreferenceProfile | None:
        """Returns the user's profile, or None; see `ProfileStore.get`.

        Raises:
            CorruptProfileError: What the database holds for the user is not a profile.
            ProfileStoreError: The database cannot be read.
        """
        checked_label("user_id", user_id)
        return self._database.read(
            "read a profile", lambda connection: self._records.profile(connection, user_id)
        )

    def delete(self, user_id: str, *, by: str | None = None) -> bool:
        """Deletes the user's profile, but not its history; False where there was none.

        Versions go on counting: the deletion is one, and the next profile has the one after it.
        `erase` deletes all there is.

        Raises:
            ProfileStoreError: The database cannot be written.
        """
        check_name(user_id)
        _checked_by(by)
        return self._write(
            "delete a profile",
            [user_id],
            lambda connection: self._records.delete(connection, user_id, by),
        )

    def user_ids(self) -> list[str]:
        """Lists everyone who has a profile, sorted by code point.

        Raises:
            ProfileStoreError: The database cannot be read.
        """
        return self._database.read("list the profiles", self._records.user_ids)

    def update(self, user_id: str, function: Update, *, by: str | None = None) -> PreferenceProfile:
        """Changes a profile without losing others' changes; see `UpdatingProfileStore.update`.

        That holds for all threads and processes that use the database. While `function` runs,
        nothing is locked; only updates of the same profile that lost a race wait for each other,
        a few seconds at most.

        Raises:
            ProfileConflictError: Others came between for too long.
            InvalidProfileError: What `function` returns is not that user's profile.
            CorruptProfileError: What the database holds for the user is not a profile.
            ProfileStoreError: The database cannot be read or written.
        """
        _checked_by(by)
        return updated(
            user_id,
            function,
            self.get,
            lambda profile, expected: self._save(profile, expected, by),
            self._queue.turn,
        )

    def history(self, user_id: str, *, limit: int | None = None) -> list[ProfileChange]:
        """Lists the changes of a profile, the oldest first, also after its deletion.

        An entry that is damaged in the database says so in its `problem`, and hides no other.

        Args:
            user_id: Whose profile.
            limit: At most so many, the newest ones.

        Raises:
            InvalidProfileError: `limit` is less than 1.
            ProfileStoreError: The database cannot be read.
        """
        checked_label("user_id", user_id)
        newest = None if limit is None else checked_number("limit", limit)
        return self._database.read(
            "read the history of a profile",
            lambda connection: self._records.changes(connection, user_id, newest=newest),
        )

    def restore(self, user_id: str, version: int, *, by: str | None = None) -> PreferenceProfile:
        """Stores the contents of an earlier version once more, over whatever is there now.

        Args:
            user_id: Whose profile; it may have been deleted.
            version: The version to go back to.
            by: Who makes the change, for the history.

        Returns:
            The profile as stored: a new version.

        Raises:
            InvalidProfileError: There is no such version, or it is a deletion; the message names
                those that there are. Or the parents of that time form a circle today.
            CorruptProfileError: The entry in the history is damaged.
            ProfileStoreError: The database cannot be written.
        """
        checked_label("user_id", user_id)
        number = checked_number("version", version)
        _checked_by(by)

        def work(connection: Connection) -> PreferenceProfile:
            # First the lock: what is erased meanwhile must not come back.
            self._records.lock_user(connection, user_id)
            earlier = version_to_restore(self._records, connection, user_id, number)
            return self._records.save(connection, earlier, Deed("restore", by))

        return self._write("restore a profile", [user_id], work)

    def erase(self, user_id: str) -> bool:
        """Deletes the user's profile and its history; False where there was neither.

        SQLite: when this returns, what was deleted is in none of the database's files any more.
        PostgreSQL: it is in no answer any more; the disk keeps dead rows until the next vacuum,
        and the server's backups and logs of changes are its operator's.

        Raises:
            ProfileStoreError: The database cannot be written, or others are still reading what
                was there before, so that a file of SQLite's keeps it; erase it once more then.
        """
        check_name(user_id)
        erased = self._write(
            "erase a profile",
            [user_id],
            lambda connection: self._records.erase(connection, user_id),
        )
        self._database.remove_traces()
        return erased

    def export_json(self, user_ids: Iterable[str] | None = None, *, history: bool = False) -> str:
        """Writes profiles as JSON, all of one moment; see `transfer.export_profiles`.

        Args:
            user_ids: Whose profiles; by default everyone's.
            history: Whether their history is written too. It is for those who ask what is kept
                about them: `import_json` does not read it.

        Raises:
            InvalidProfileError: A user id is not valid, or there is nothing of that user.
            CorruptProfileError: What the database holds for a user is not a profile.
            ProfileStoreError: The database cannot be read.
        """
        wanted = None if user_ids is None else transfer.checked_user_ids(user_ids)

        def work(connection: Connection) -> str:
            profiles = self._records.profiles(connection, wanted)
            changes = self._records.histories(connection, wanted) if history else []
            if wanted is not None:
                found = {one.user_id for one in profiles} | {one.user_id for one in changes}
                transfer.check_found(wanted, found)
            return transfer.to_json(profiles, changes if history else None)

        return self._database.read("export the profiles", work, mode="snapshot")

    def import_json(self, text: str, *, by: str | None = None) -> list[PreferenceProfile]:
        """Stores the profiles of a file, all or none; see `transfer.import_profiles`.

        Each becomes a new version of that user's profile, over whatever is there. A history in
        the file is not imported.

        Returns:
            The profiles as stored, in the order of the file.

        Raises:
            InvalidProfileError: The file is of another format, or a profile in it is not valid, or
                the parents form a circle; the message names the place.
            ProfileStoreError: The database cannot be written.
        """
        _checked_by(by)
        profiles = transfer.from_text(text)

        def work(connection: Connection) -> list[PreferenceProfile]:
            self._records.lock_everyone(connection)
            transfer.by_line(profiles, lambda it: self._records.known_profile(connection, it))
            return self._records.save_all(connection, profiles, Deed("import", by))

        return self._write("import profiles", [one.user_id for one in profiles], work)

    def close(self) -> None:
        """Closes all connections; the store cannot be used afterwards. May be called twice."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"SqlProfileStore({self._database.name!r})"

    def _save(
        self, profile: PreferenceProfile, expected: Stamp | None, by: str | None
    ) -> PreferenceProfile:
        deed = Deed("save", _checked_by(by))
        return self._write(
            "save a profile",
            [profile.user_id],
            lambda connection: self._records.save(connection, profile, deed, expected),
        )

    def _write(self, doing: str, user_ids: Iterable[str], work: Work[T]) -> T:
        try:
            return self._database.write(doing, work)
        finally:
            # After an error too: a change whose commit was interrupted may be stored.
            for user_id in user_ids:
                announce(self.place, user_id)


def _checked_by(by: str | None) -> str | None:
    return None if by is None else checked_label("by", by)
