"""Stores that are opened on first use, and once."""

from __future__ import annotations

from pathlib import Path

from amulet_integrations.concurrency.fork_safe import ForkSafeLock
from amulet_integrations.profiles.profile_limits import ProfileLimits

from .base import ProfileStore
from .default_place import has_default, is_default_place
from .opening import open_profile_store


class OpenedStores:
    """Opens the store of each place once. May be used from any thread."""

    def __init__(self) -> None:
        self._opening = ForkSafeLock()  # a database may take long to answer
        self._stores: dict[tuple[str, float, ProfileLimits | None], ProfileStore] = {}

    def store(
        self,
        store_or_url: ProfileStore | str | Path | None,
        ttl: float,
        limits: ProfileLimits | None = None,
        *,
        make: bool = False,
    ) -> ProfileStore | None:
        """The store; one given by URL or path is opened, with a cache of `ttl` seconds and limits.

        The default place is None as long as there is nothing, unless it may be made: then the
        first write makes it.

        Raises:
            ProfileStoreError: It is no store, or the database cannot be opened.
        """
        if store_or_url is None:
            return None
        if is_default_place(store_or_url) and not (make or has_default()):
            return None
        if not isinstance(store_or_url, str | Path):
            return open_profile_store(store_or_url)
        with self._opening:
            if (key := (str(store_or_url), ttl, limits)) not in self._stores:
                self._stores[key] = open_profile_store(store_or_url, ttl=ttl, limits=limits)
            return self._stores[key]
