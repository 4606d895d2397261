"""Makes the caches of this process forget profiles that were changed through another object.

Two objects may lead to the same place: two stores of one database, two adapters of one LangGraph
store. Each writer publishes its changes under the name of the place, and each cache subscribes.
"""

from __future__ import annotations

from typing import Protocol
from weakref import ref

from amulet_integrations.concurrency.fork_safe import ForkSafeLock


class Cache(Protocol):
    """A cache of the profiles at a place."""

    @property
    def place(self) -> str | None:
        """The name of the place; None if the store there publishes no changes."""

    def forget(self, user_id: str) -> None:
        """Is called after each change, on the thread of the writer. It must not raise."""


_lock = ForkSafeLock()
_caches: list[ref[Cache]] = []


def publish_change(place: str, user_id: str) -> None:
    """Makes all caches of a place forget a profile that was changed there.

    Args:
        place: The name of the place: the attribute `place` of its stores.
        user_id: The user of the profile.
    """
    # Without a lock: a fork might copy it while another thread holds it.
    for reference in tuple(_caches):
        cache = reference()
        if cache is not None and cache.place == place:
            cache.forget(user_id)


def subscribe(cache: Cache) -> None:
    """Adds a cache, which is then called after every change at its place. It is held weakly."""
    with _lock:
        _caches[:] = [*(it for it in _caches if it() is not None), ref(cache)]
