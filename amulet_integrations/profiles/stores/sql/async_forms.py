"""Async forms of what a store in a database does besides."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Iterable

from amulet_integrations.profiles.profile import PreferenceProfile
from amulet_integrations.profiles.stores.async_forms import AsyncForms
from amulet_integrations.profiles.stores.base import Update
from amulet_integrations.profiles.stores.changes import ProfileChange


class SqlAsyncForms(AsyncForms):
    """`AsyncForms` with who makes a change, and with the history, erasing and files."""

    @abstractmethod
    def save(self, profile: PreferenceProfile, *, by: str | None = None) -> PreferenceProfile:
        """See `SqlProfileStore.save`."""

    @abstractmethod
    def delete(self, user_id: str, *, by: str | None = None) -> bool:
        """See `SqlProfileStore.delete`."""

    @abstractmethod
    def update(self, user_id: str, function: Update, *, by: str | None = None) -> PreferenceProfile:
        """See `SqlProfileStore.update`."""

    @abstractmethod
    def restore(self, user_id: str, version: int, *, by: str | None = None) -> PreferenceProfile:
        """See `SqlProfileStore.restore`."""

    @abstractmethod
    def history(self, user_id: str, *, limit: int | None = None) -> list[ProfileChange]:
        """See `SqlProfileStore.history`."""

    @abstractmethod
    def erase(self, user_id: str) -> bool:
        """See `SqlProfileStore.erase`."""

    @abstractmethod
    def export_json(self, user_ids: Iterable[str] | None = None, *, history: bool = False) -> str:
        """See `SqlProfileStore.export_json`."""

    @abstractmethod
    def import_json(self, text: str, *, by: str | None = None) -> list[PreferenceProfile]:
        """See `SqlProfileStore.import_json`."""

    async def asave(
        self, profile: PreferenceProfile, *, by: str | None = None
    ) -> PreferenceProfile:
        """As `save`."""
        return await asyncio.to_thread(self.save, profile, by=by)

    async def adelete(self, user_id: str, *, by: str | None = None) -> bool:
        """As `delete`."""
        return await asyncio.to_thread(self.delete, user_id, by=by)

    async def aupdate(
        self, user_id: str, function: Update, *, by: str | None = None
    ) -> PreferenceProfile:
        """As `update`; `function` is called on the thread."""
        return await asyncio.to_thread(self.update, user_id, function, by=by)

    async def arestore(
        self, user_id: str, version: int, *, by: str | None = None
    ) -> PreferenceProfile:
        """As `restore`."""
        return await asyncio.to_thread(self.restore, user_id, version, by=by)

    async def ahistory(self, user_id: str, *, limit: int | None = None) -> list[ProfileChange]:
        """As `history`."""
        return await asyncio.to_thread(self.history, user_id, limit=limit)

    async def aerase(self, user_id: str) -> bool:
        """As `erase`."""
        return await asyncio.to_thread(self.erase, user_id)

    async def aexport_json(
        self, user_ids: Iterable[str] | None = None, *, history: bool = False
    ) -> str:
        """As `export_json`."""
        return await asyncio.to_thread(self.export_json, user_ids, history=history)

    async def aimport_json(self, text: str, *, by: str | None = None) -> list[PreferenceProfile]:
        """As `import_json`."""
        return await asyncio.to_thread(self.import_json, text, by=by)
