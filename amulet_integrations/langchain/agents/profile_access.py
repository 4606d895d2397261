"""Reading and changing profiles from threads and from event loops, whatever the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from amulet_integrations.langchain.agents.store import LangGraphProfileStore
from amulet_integrations.langchain.agents.turns import Turns
from amulet_integrations.profiles import PreferenceProfile, ProfileStore, access

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
    return access.read_profile(store, user_id) or PreferenceProfile(user_id=user_id)


async def aread_profile(store: ProfileStore, user_id: str) -> PreferenceProfile:
    """As `read_profile`, without blocking the event loop."""
    if isinstance(store, LangGraphProfileStore):
        found = access.checked_profile(store, user_id, await store.aget(user_id))
        return found or PreferenceProfile(user_id=user_id)
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
            access.ask_store(store, "save", changed)
    return told


async def achange_profile(store: ProfileStore, user_id: str, change: Change[T]) -> T:
    """As `change_profile`, without blocking the event loop."""
    if not isinstance(store, LangGraphProfileStore):
        # All of it on one thread, which goes on to its end where the task is cancelled.
        return await asyncio.to_thread(change_profile, store, user_id, change)
    async with _TURNS.aturn(user_id):
        changed, told = change(await aread_profile(store, user_id))
        if changed is not None:
            await store.asave(changed)
    return told
