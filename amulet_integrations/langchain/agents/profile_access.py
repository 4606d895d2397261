"""Reading and changing profiles from threads and from event loops, whatever the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from amulet_integrations.errors import AmuletError, ProfileStoreError
from amulet_integrations.langchain.agents.store import LangGraphProfileStore
from amulet_integrations.langchain.agents.turns import Turns
from amulet_integrations.profiles import PreferenceProfile, ProfileStore

T = TypeVar("T")
Change = Callable[[PreferenceProfile], tuple[PreferenceProfile | None, T]]
"""Takes a profile; returns the one to be stored (None: leave it) and something to tell."""

# One turn for each user id, whichever store object leads to the profile.
_TURNS = Turns()


def read_profile(store: ProfileStore, user_id: str) -> PreferenceProfile:
    """The profile of a user; an empty one where the store has none.

    Raises:
        ProfileError: The store fails, or what it holds is not a profile.
    """
    return _found(store, user_id, _asked(store, "get", user_id))


async def aread_profile(store: ProfileStore, user_id: str) -> PreferenceProfile:
    """As `read_profile`, without blocking the event loop."""
    if isinstance(store, LangGraphProfileStore):
        return _found(store, user_id, await store.aget(user_id))
    return await asyncio.to_thread(read_profile, store, user_id)


def change_profile(store: ProfileStore, user_id: str, change: Change[T]) -> T:
    """Reads a profile, changes it and stores it; no other change in this process comes between.

    Returns:
        What `change` has to tell.

    Raises:
        ProfileError: The store fails, or what it holds is not a profile.
    """
    with _TURNS.turn(user_id):
        changed, told = change(read_profile(store, user_id))
        if changed is not None:
            _asked(store, "save", changed)
    return told


async def achange_profile(store: ProfileStore, user_id: str, change: Change[T]) -> T:
    """As `change_profile`, without blocking the event loop."""
    if not isinstance(store, LangGraphProfileStore):
        # All of it on one thread, which goes on to its end where the task is cancelled.
        return await asyncio.to_thread(change_profile, store, user_id, change)
    async with _TURNS.aturn(user_id):
        changed, told = change(_found(store, user_id, await store.aget(user_id)))
        if changed is not None:
            await store.asave(changed)
    return told


def _found(store: ProfileStore, user_id: str, profile: Any) -> PreferenceProfile:
    if profile is None:
        return PreferenceProfile(user_id=user_id)
    if isinstance(profile, PreferenceProfile) and profile.user_id == user_id:
        return profile
    found = "another user's profile" if isinstance(profile, PreferenceProfile) else ""
    raise ProfileStoreError(
        f"{type(store).__name__}.get returned {found or f'a {type(profile).__name__}'} for "
        f"user_id={user_id!r}; a store returns that user's PreferenceProfile, or None."
    )


def _asked(store: ProfileStore, method: str, argument: Any) -> Any:
    try:
        return getattr(store, method)(argument)
    except AmuletError:
        raise
    except Exception as error:  # noqa: BLE001 - a store of somebody else's may raise anything
        # What a failed write raises may quote what was to be written.
        cause = error if method == "get" else None
        raise ProfileStoreError(
            f"{type(store).__name__}.{method} failed: {type(error).__name__}. Check the store of "
            "profiles."
        ) from cause
