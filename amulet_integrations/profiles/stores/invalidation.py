"""Tells the caches of this process which profiles were changed, through whichever object.

Two objects may lead to the same place: two stores of one database, two adapters of one LangGraph
store. Each writer publishes its changes under the name of the place, and each cache subscribes.
"""

from __future__ import annotations

from threading import Lock
from typing import Protocol
from weakref import ref


class Cache(Protocol):
    """What learns of changes, as long as it lives."""

    @property
    def place(self) -> str | None:
        """The name of the place whose changes it learns of."""

    def forget(self, user_id: str) -> None:
        """Is called for each changed user, on the thread of the writer. It must not raise."""


_lock = Lock()
_caches: list[ref[Cache]] = []


def publish_change(place: str, user_id: str) -> None:
    """Has all caches of a place forget a user whose profile was changed there.

    Args:
        place: The name of the place: the attribute `place` of its stores.
        user_id: The user whose profile was changed.
    """
    # No lock, because a forked child would inherit it in the state of that moment.
    for reference in tuple(_caches):
        cache = reference()
        if cache is not None and cache.place == place:
            cache.forget(user_id)


def subscribe(cache: Cache) -> None:
    """Has a cache learn of all changes at its place. The cache is held weakly."""
    with _lock:
        _caches[:] = [*(it for it in _caches if it() is not None), ref(cache)]
