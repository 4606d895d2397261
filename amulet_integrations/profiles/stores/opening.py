"""Opens the store that the argument `profiles` of the clients means."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from amulet_integrations.errors import ProfileStoreError
from amulet_integrations.profiles.profile_limits import ProfileLimits

from .base import ProfileStore
from .cached import CachedProfileStore, checked_ttl


def open_profile_store(
    store_or_url: ProfileStore | str | Path,
    *,
    ttl: float = 0.0,
    limits: ProfileLimits | None = None,
) -> ProfileStore:
    """Opens a store by its URL or path; a store is returned as it is.

    Args:
        store_or_url: A store, a database URL, the path of an SQLite file, or "default" for the
            place that AMULET_PROFILES names, or else ``profiles.db`` in the user's data folder.
        ttl: Seconds for which profiles of a database are remembered (`CachedProfileStore`); 0
            reads the database every time. A store that is given gets no cache.
        limits: What profiles in a database must not exceed. The default is `ProfileLimits()`. A
            store that is given keeps its own.

    Returns:
        The store itself, or a `SqlProfileStore` of that database, behind a `CachedProfileStore`
        if `ttl` is not 0.

    Raises:
        ProfileStoreError: It is neither, or the database cannot be opened.
        InvalidParamsError: `ttl` is no number of seconds.
    """
    checked_ttl(ttl)
    if isinstance(store_or_url, str | Path):
        # SQLAlchemy is imported only if a database is opened.
        from amulet_integrations.profiles.stores.sql.sql_store import SqlProfileStore  # noqa: PLC0415

        database = SqlProfileStore(store_or_url, limits=limits)
        return CachedProfileStore(database, ttl=ttl) if ttl else database
    given = cast("object", store_or_url)
    if isinstance(given, ProfileStore) and not isinstance(given, type):
        return given
    name = given.__name__ if isinstance(given, type) else type(given).__name__
    raise ProfileStoreError(
        f"{name} is not a profile store. Give a database URL, the path of an SQLite file, or an "
        "object with the methods save, get, delete and user_ids."
    )
