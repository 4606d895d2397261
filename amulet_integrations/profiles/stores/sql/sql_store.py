"""The store of profiles in a database, with the history of every profile."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

from amulet_integrations.errors import InvalidProfileError
from amulet_integrations.profiles.contradictions.contradiction_warning import (
    warn_of_contradictions,
)
from amulet_integrations.profiles.field_types import checked_label
from amulet_integrations.profiles.profile import PreferenceProfile, ProfileChange
from amulet_integrations.profiles.profile_limits import ProfileLimits
from amulet_integrations.profiles.stores import transfer
from amulet_integrations.profiles.stores.base import Update
from amulet_integrations.profiles.stores.invalidation import publish_change
from amulet_integrations.profiles.stores.shared_store import SharedStore, not_picklable
from amulet_integrations.profiles.stores.versions import (
    Version,
    base_version,
    check_profile,
    update_with_retries,
)
from amulet_integrations.profiles.sync_async import on_thread

from .database import Database, ReadMode
from .late_database import LateDatabase
from .queries import Queries
from .schema import LARGEST_VERSION, Tables

T = TypeVar("T")


class SqlProfileStore(SharedStore):
    """A `ProfileStore` in SQLite or PostgreSQL, with the history of every profile.

    Many threads and processes may use the same database at once: no change is lost, and versions
    are counted without a gap. Each change is stored together with its entry in the history, or not
    at all. Each method has an async form: `asave` and so on.

    Args:
        url: A database URL (``postgresql://…``, ``sqlite:///…``), the path of an SQLite file, or
            ``:memory:``. The default, also under the name "default", is what the environment
            variable AMULET_PROFILES names, or else ``profiles.db`` in the user's data folder.
            PostgreSQL needs the extra `postgres`.
            An SQLite file that does not exist is made by the first write, with its folder; until
            then there is nothing to read. In a database that exists, missing tables are created,
            and tables of earlier versions of this package are brought up to date.
        table_prefix: The beginning of the names of the tables, so that they may be in a database
            of yours: `amulet_profiles`, `amulet_profile_changes` and `amulet_alembic_version`.
        limits: What profiles must not exceed, and who may be a parent. The default is
            `ProfileLimits()`.

    Attributes:
        limits: The limits.

    Raises:
        MissingDependencyError: The driver of PostgreSQL is not installed.
        ProfileStoreError: The database cannot be opened, or was written by a newer version of
            this package.
    """

    def __init__(
        self,
        url: str | Path | None = None,
        *,
        table_prefix: str = "amulet_",
        limits: ProfileLimits | None = None,
    ) -> None:
        self.limits: ProfileLimits = ProfileLimits() if limits is None else limits
        tables = Tables(table_prefix)
        self._table_prefix = table_prefix
        self._late = LateDatabase(url, tables)
        self._place = f"{self._late.place}#{tables.prefix}"
        self._queries = partial(
            Queries, tables=tables, place=self._late.name, by=None, limits=self.limits
        )

    def __reduce__(self) -> tuple[Callable[..., Self], tuple[str]]:
        if (url := self._late.lasting_url) is None:
            raise not_picklable(self, "its database is in the memory of this process")
        reopen = partial(type(self), table_prefix=self._table_prefix, limits=self.limits)
        return reopen, (url,)

    @property
    def place(self) -> str:
        """The name of database and prefix, under which changes are published to caches."""
        return self._place

    @property
    def name(self) -> str:
        """The database for messages: its path, or its URL without the password."""
        return self._late.name

    @property
    def exists(self) -> bool:
        """Whether the database exists; an SQLite file that does not is made by the first write."""
        return self._late.exists

    def save(self, profile: PreferenceProfile, *, by: str | None = None) -> PreferenceProfile:
        """Stores a profile in place of the user's earlier one; see `ProfileStore.save`.

        Args:
            profile: The profile.
            by: Who makes the change, for the history; 1 to 256 characters.

        Raises:
            ProfileConflictError: Another version is stored by now, or none any more.
            ProfileLimitError: It exceeds a limit, or its parent may not be one.
            InvalidProfileError: It is no profile, or its parents form a circle.
            ProfileStoreError: The database cannot be written.
        """
        return self._save(check_profile(profile), base_version(profile), by)

    def get(self, user_id: str) -> PreferenceProfile | None:
        """Returns the user's profile, or None; see `ProfileStore.get`.

        Raises:
            CorruptProfileError: The database contains something else than a profile for the user.
            ProfileStoreError: The database cannot be read.
        """
        checked_label("user_id", user_id)
        return self._read("read a profile", lambda queries: queries.profile(user_id))

    def delete(
        self, user_id: str, *, by: str | None = None, expected: PreferenceProfile | None = None
    ) -> bool:
        """Deletes the user's profile, but not its history; False if there was none.

        Versions go on counting: the deletion is a version, and the next profile gets the version
        after it. `erase` deletes the history too.

        Args:
            user_id: The user. If the id in a row is damaged: the id that `user_ids` lists.
            by: Who makes the change, for the history.
            expected: The profile as it was read; no other version is deleted. None for any.

        Raises:
            ProfileConflictError: Another version than the expected one is stored.
            InvalidProfileError: There is no such user id.
            ProfileStoreError: The database cannot be written.
        """
        _check_row_id(user_id)
        version = _expected_version(expected)
        return self._write(
            "delete a profile", [user_id], lambda it: it.delete(user_id, version), by, makes=False
        )

    def user_ids(self) -> list[str]:
        """Lists everyone who has a profile, sorted by code point.

        Raises:
            ProfileStoreError: The database cannot be read.
        """
        return self._read("list the profiles", Queries.user_ids)

    def update(self, user_id: str, function: Update, *, by: str | None = None) -> PreferenceProfile:
        """Changes a profile without losing others' changes; see `UpdatingProfileStore.update`.

        This includes all threads and processes that use the database. While `function` runs,
        nothing is locked. Only updates of one user that had a conflict wait for each other, for a
        few seconds at most.

        Raises:
            ProfileConflictError: Others interfered for too long.
            InvalidProfileError: `function` does not return that user's profile.
            CorruptProfileError: The database contains something else than a profile for the user.
            ProfileStoreError: The database cannot be read or written.
        """
        queue = partial(self._late.queue, user_id)
        return update_with_retries(user_id, function, self.get, partial(self._save, by=by), queue)

    def history(
        self, user_id: str, *, limit: int | None = None, version: int | None = None
    ) -> list[ProfileChange]:
        """Lists the changes of a profile, the oldest first, also after its deletion.

        An entry that is damaged in the database has a `problem`. All other entries can be read.

        Args:
            user_id: The user.
            limit: At most so many changes, the newest ones.
            version: Only the change that made this version, if there is one.

        Raises:
            InvalidProfileError: `limit` or `version` is less than 1.
            ProfileStoreError: The database cannot be read.
        """
        checked_label("user_id", user_id)
        newest = None if limit is None else _checked_number("limit", limit)
        made = None if version is None else _checked_number("version", version)
        return self._read(
            "read the history of a profile",
            lambda it: it.changes([user_id], newest=newest, version=made),
        )

    def restore(
        self,
        user_id: str,
        version: int,
        *,
        by: str | None = None,
        expected: PreferenceProfile | None = None,
    ) -> PreferenceProfile:
        """Stores the contents of an earlier version once more, over whatever is there now.

        Args:
            user_id: The user, whose profile may have been deleted.
            version: The version to go back to.
            by: Who makes the change, for the history.
            expected: The profile as it was read; no other version is replaced. None for any, or
                none.

        Returns:
            The profile as stored: a new version.

        Raises:
            ProfileConflictError: Another version than the expected one is stored.
            ProfileLimitError: That version exceeds a limit, or its parent may not be one.
            InvalidProfileError: There is no such version, or it is a deletion; the message lists
                the versions that can be restored. Or the parents of that time form a circle now.
            CorruptProfileError: The entry in the history is damaged.
            ProfileStoreError: The database cannot be written.
        """
        checked_label("user_id", user_id)
        number, current = _checked_number("version", version), _expected_version(expected)
        return self._write(
            "restore a profile",
            [user_id],
            lambda it: it.restore(user_id, number, current),
            by,
            makes=False,
        )

    def erase(self, user_id: str, *, expected: PreferenceProfile | None = None) -> bool:
        """Deletes the user's profile and its history; False if there was neither.

        SQLite: when this returns, none of the files of the database contains the profile any more.
        PostgreSQL: no query returns it any more. The disk keeps dead rows until the next vacuum,
        and the server's backups and logs of changes are up to its operator.

        Args:
            user_id: The user. If the id in a row is damaged: the id that `user_ids` lists.
            expected: The profile as it was read; no other version is erased. None for any, or none.

        Raises:
            ProfileConflictError: Another version than the expected one is stored.
            InvalidProfileError: There is no such user id.
            ProfileStoreError: The database cannot be written. Or others are still reading what was
                there before, so that a file of SQLite keeps it; erase it once more then.
        """
        _check_row_id(user_id)
        version = _expected_version(expected)
        erased = self._write(
            "erase a profile", [user_id], lambda it: it.erase(user_id, version), makes=False
        )
        self._database.remove_traces()
        return erased

    def export_json(self, user_ids: Iterable[str] | None = None, *, history: bool = False) -> str:
        """Writes profiles as JSON, all of one moment; see `transfer.export_profiles`.

        Args:
            user_ids: The users; None for all.
            history: Whether to include their history, such as for a user who wants to know what
                is stored. `import_json` does not read it.

        Raises:
            InvalidProfileError: A user id is not valid, or nothing is stored for that user.
            CorruptProfileError: The database contains something else than a profile for a user.
            ProfileStoreError: The database cannot be read.
        """
        wanted = None if user_ids is None else transfer.checked_user_ids(user_ids)
        return self._read(
            "export the profiles", lambda it: it.export(wanted, history=history), "snapshot"
        )

    def import_json(self, text: str, *, by: str | None = None) -> list[PreferenceProfile]:
        """Stores the profiles of a file, all or none; see `transfer.import_profiles`.

        Each becomes a new version of that user's profile, over whatever is there. A history in
        the file is not imported.

        Args:
            text: The file, as `export_json` writes it.
            by: Who makes the change, for the history.

        Returns:
            The profiles as stored, in the order of the file.

        Raises:
            ProfileLimitError: A profile exceeds a limit, or its parent may not be one.
            InvalidProfileError: The file has another format, or a profile in it is not valid, or
                the parents form a circle. The message names the place in the file.
            ProfileStoreError: The database cannot be written.
        """
        profiles = transfer.from_text(text)
        for profile in profiles:
            warn_of_contradictions(profile)
        user_ids = [one.user_id for one in profiles]
        return self._write("import profiles", user_ids, lambda it: it.import_all(profiles), by)

    asave = on_thread(save)
    aget = on_thread(get, reads=True)
    adelete = on_thread(delete)
    auser_ids = on_thread(user_ids, reads=True)
    aupdate = on_thread(update)
    ahistory = on_thread(history, reads=True)
    arestore = on_thread(restore)
    aerase = on_thread(erase)
    aexport_json = on_thread(export_json, reads=True)
    aimport_json = on_thread(import_json)

    def close(self) -> None:
        """Closes all connections; the store cannot be used afterwards. May be called twice."""
        self._late.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"SqlProfileStore({self.name!r})"

    @property
    def _database(self) -> Database:
        return self._late.for_reading()

    def _save(
        self, profile: PreferenceProfile, expected: Version | None, by: str | None
    ) -> PreferenceProfile:
        warn_of_contradictions(profile)
        return self._write(
            "save a profile", [profile.user_id], lambda it: it.save(profile, "save", expected), by
        )

    def _read(self, doing: str, work: Callable[[Queries], T], mode: ReadMode = "read") -> T:
        return self._database.read(doing, lambda it: work(self._queries(it)), mode=mode)

    def _write(
        self,
        doing: str,
        user_ids: Iterable[str],
        work: Callable[[Queries], T],
        by: str | None = None,
        *,
        makes: bool = True,
    ) -> T:
        if by is not None:
            checked_label("by", by)
        database = self._late.for_writing() if makes else self._database
        try:
            return database.write(doing, lambda it: work(self._queries(it, by=by)))
        finally:
            # Also after an error: if the commit was interrupted, the change may be stored.
            for user_id in user_ids:
                publish_change(self.place, user_id)


def _check_row_id(user_id: object) -> None:
    """Refuses what not even a damaged row can have as its user id."""
    if not isinstance(user_id, str) or not user_id:
        checked_label("user_id", user_id)


def _expected_version(expected: PreferenceProfile | None) -> Version | None:
    return None if expected is None else Version.of(check_profile(expected))


def _checked_number(what: str, number: object) -> int:
    """Checks a number that counts from 1, and limits it to the largest version."""
    if isinstance(number, int) and not isinstance(number, bool) and number >= 1:
        return min(number, LARGEST_VERSION)
    raise InvalidProfileError(f"{what}={number!r:.80} is no whole number of at least 1.")
