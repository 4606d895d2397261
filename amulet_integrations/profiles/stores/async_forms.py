"""Async forms of a store's methods, for stores that wait for a database or a disk."""

from __future__ import annotations

import asyncio
from abc import abstractmethod

from amulet_integrations.profiles.profile import PreferenceProfile
from amulet_integrations.profiles.stores.base import Update


class AsyncForms:
    """Adds `asave`, `aget`, `adelete`, `auser_ids` and `aupdate`, which leave the loop free.

    The work is done on a thread, to its end also where the task is cancelled, so nothing is left
    half written. Each raises what the method without the "a" does.
    """

    @abstractmethod
    def save(self, profile: PreferenceProfile) -> PreferenceProfile:
        """See `ProfileStore.save`."""

    @abstractmethod
    def get(self, user_id: str) -> PreferenceProfile | None:
        """See `ProfileStore.get`."""

    @abstractmethod
    def delete(self, user_id: str) -> bool:
        """See `ProfileStore.delete`."""

    @abstractmethod
    def user_ids(self) -> list[str]:
        """See `ProfileStore.user_ids`."""

    @abstractmethod
    def update(self, user_id: str, function: Update) -> PreferenceProfile:
        """See `UpdatingProfileStore.update`."""

    async def asave(self, profile: PreferenceProfile) -> PreferenceProfile:
        """As `save`."""
        return await asyncio.to_thread(self.save, profile)

    async def aget(self, user_id: str) -> PreferenceProfile | None:
        """As `get`."""
        return await asyncio.to_thread(self.get, user_id)

    async def adelete(self, user_id: str) -> bool:
        """As `delete`."""
        return await asyncio.to_thread(self.delete, user_id)

    async def auser_ids(self) -> list[str]:
        """As `user_ids`."""
        return await asyncio.to_thread(self.user_ids)

    async def aupdate(self, user_id: str, function: Update) -> PreferenceProfile:
        """As `update`; `function` is called on the thread."""
        return await asyncio.to_thread(self.update, user_id, function)
