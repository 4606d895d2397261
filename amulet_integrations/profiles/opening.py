"""From what a user gives as "the profiles" to a store."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from amulet_integrations.errors import ProfileStoreError
from amulet_integrations.profiles.store import ProfileStore


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
