"""What every store of profiles does."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

from amulet_integrations.errors import InvalidProfileError, ProfileStoreError
from amulet_integrations.profiles.profile import PreferenceProfile


@runtime_checkable
class ProfileStore(Protocol):
    """Where profiles are kept, one for each user. Every method may be called from any thread."""

    def save(self, profile: PreferenceProfile) -> PreferenceProfile:
        """Stores a profile in place of the user's earlier one.

        Args:
            profile: The profile; its own `version` and `updated_at` do not matter.

        Returns:
            The profile as stored: `version` is one more than the earlier one's (1 where there is
            none, so also after a deletion), and `updated_at` is now, in UTC.
        """
        ...

    def get(self, user_id: str) -> PreferenceProfile | None:
        """Returns the user's profile, or None where there is none.

        Raises:
            InvalidProfileError: `user_id` is no valid user id.
        """
        ...

    def delete(self, user_id: str) -> bool:
        """Deletes the user's profile; False where there was none.

        Raises:
            InvalidProfileError: `user_id` is no valid user id.
        """
        ...

    def user_ids(self) -> list[str]:
        """Lists everyone who has a profile, sorted by code point."""
        ...


def check_profile(profile: object) -> PreferenceProfile:
    """Refuses to store anything but a profile.

    Raises:
        InvalidProfileError: `profile` is something else.
    """
    if isinstance(profile, PreferenceProfile):
        return profile
    raise InvalidProfileError(
        f"A {type(profile).__name__} cannot be stored; give a PreferenceProfile."
    )


def next_version(profile: PreferenceProfile, previous: int) -> PreferenceProfile:
    """Stamps a profile that is about to be stored over version `previous` (0: over nothing)."""
    return profile.model_copy(update={"version": previous + 1, "updated_at": datetime.now(UTC)})


def open_profile_store(store_or_url: ProfileStore | str | Path) -> ProfileStore:
    """Turns what a user gives as "the profiles" into a store.

    Args:
        store_or_url: A store, a database URL, or the path of an SQLite file.

    Returns:
        The store itself, or a `SqlProfileStore` of that database.

    Raises:
        ProfileStoreError: It is neither, or the database cannot be opened.
    """
    if isinstance(store_or_url, str | Path):
        # SQLAlchemy is imported only where a database is asked for.
        from amulet_integrations.profiles.sql import SqlProfileStore  # noqa: PLC0415

        return SqlProfileStore(store_or_url)
    given = cast("object", store_or_url)
    if isinstance(given, ProfileStore) and not isinstance(given, type):
        return given
    name = given.__name__ if isinstance(given, type) else type(given).__name__
    raise ProfileStoreError(
        f"{name} is not a profile store. Give a database URL, the path of an SQLite file, or an "
        "object with the methods save, get, delete and user_ids."
    )
