"""One user's profile and its history, as one caller reads and changes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from amulet_integrations.errors import CorruptProfileError
from amulet_integrations.profiles import (
    PreferenceProfile,
    ProfileChange,
    ProfileStore,
)
from amulet_integrations.profiles.inheritance import Line, line_of
from amulet_integrations.profiles.stores.access import read_profile, update_profile
from amulet_integrations.serving.access.caller import Caller

from .entity_tags import Precondition
from .operator_checks import check_strength, checked_profile
from .profile_service import ProfileService
from .served_store import HistoryStore, ServedStore, no_history, over_stored


@dataclass(frozen=True)
class UserProfiles:
    """What a caller may do with one user's profile. Whether the caller may is checked before.

    Attributes:
        service: The profiles of the application.
        caller: Who sends the request; stands in the history.
        user_id: The user.
    """

    service: ProfileService
    caller: Caller
    user_id: str

    async def read(self) -> PreferenceProfile:
        """The stored profile, past all caches: another process may have changed it.

        Raises:
            ApiError: 404, there is none.
            ProfileError: The store fails, or holds something else.
        """
        found = await self._store.read(partial(read_profile, user_id=self.user_id))
        if found is None:
            raise self._store.no_profile()
        return found

    async def line(self) -> Line:
        """The stored profile, its parent and so on.

        Raises:
            ApiError: 404, there is none.
            ProfileError: The store fails, or a profile may not be a parent.
        """

        def read(store: ProfileStore) -> Line | None:
            own, limits = read_profile(store, self.user_id), self.service.limits()
            return None if own is None else line_of(own, partial(read_profile, store), limits)

        if (line := await self._store.read(read)) is None:
            raise self._store.no_profile()
        return line

    async def put(
        self, profile: PreferenceProfile, precondition: Precondition
    ) -> tuple[PreferenceProfile, bool]:
        """Stores a profile in place of the earlier one.

        Returns:
            The profile as stored, and whether there was none before.

        Raises:
            ApiError: 412, the precondition is not met; 400, the operator
                refuses a preference.
        """
        profile = await checked_profile(self.service, profile)
        created = False

        def replace(before: PreferenceProfile) -> PreferenceProfile:
            nonlocal created
            precondition.check(before if before.version else None)
            created = not before.version
            return profile

        def write(store: ProfileStore) -> PreferenceProfile:
            try:
                return self._update(store, replace)
            except CorruptProfileError:
                if precondition.is_set:  # which nothing damaged can be compared with
                    raise
            if isinstance(store, HistoryStore):
                return store.save(profile, by=self._by)
            return store.save(profile)

        return await self._store.write(write), created

    async def change(
        self,
        function: Callable[[PreferenceProfile], PreferenceProfile],
        precondition: Precondition,
    ) -> PreferenceProfile:
        """Changes the stored profile.

        Args:
            function: The change; it may be called several times.
            precondition: What the stored profile has to be.

        Raises:
            ApiError: 404, there is none; 412, the precondition is not met.
            GuidanceScaleError: The result is stronger than the server allows.
        """

        def change(before: PreferenceProfile) -> PreferenceProfile:
            stored = before if before.version else None
            precondition.check(stored)
            if stored is None:
                raise self._store.no_profile()
            changed = function(stored)
            check_strength(self.service, changed)
            return changed

        return await self._store.write(lambda store: self._update(store, change))

    async def delete(self, precondition: Precondition) -> None:
        """Deletes the profile; a history is kept.

        Raises:
            ApiError: 404, there is none; 412, the precondition is not met.
        """

        def delete(store: ProfileStore) -> bool:
            if isinstance(store, HistoryStore):
                return over_stored(
                    store,
                    self.user_id,
                    precondition,
                    partial(store.delete, self.user_id, by=self._by),
                )
            if precondition.is_set:
                raise no_history("If-Match and If-None-Match on DELETE need")
            return store.delete(self.user_id)

        if not await self._store.write(delete, makes=False):
            raise self._store.no_profile()

    async def erase(self, precondition: Precondition) -> None:
        """Deletes the profile with its history, so that nothing of it is left.

        Raises:
            ApiError: 404, there is neither; 412, the precondition is not met.
        """

        def erase(store: ProfileStore) -> bool:
            if not isinstance(store, HistoryStore):
                raise no_history("erase=true needs")
            return over_stored(
                store, self.user_id, precondition, partial(store.erase, self.user_id)
            )

        if not await self._store.write(erase, makes=False):
            raise self._store.no_profile()

    async def history(self, limit: int) -> list[ProfileChange]:
        """The newest changes of the profile, the oldest of them first.

        Raises:
            ApiError: 404, there are none, or the store keeps none.
        """
        changes = await self._store.read(lambda store: self._history(store, limit=limit))
        if not changes:
            raise self._store.no_profile()
        return changes

    async def restore(self, version: int, precondition: Precondition) -> PreferenceProfile:
        """Stores an earlier version once more.

        Where the operator's check rewrites a preference, what is stored is no restored version
        but a new one, and so it is called in the history.

        Raises:
            ApiError: 404, there is no history; 412, the precondition is not met.
            InvalidProfileError: There is no such version.
        """
        found = await self._store.read(lambda store: self._history(store, version=version))
        if not found:
            await self.history(1)
        for wanted in (it.profile for it in found if it.profile is not None):
            if (checked := await checked_profile(self.service, wanted)) is not wanted:
                return (await self.put(checked, precondition))[0]

        def restore(store: ProfileStore) -> PreferenceProfile:
            assert isinstance(store, HistoryStore)  # noqa: S101 - its history was read
            again = partial(store.restore, self.user_id, version, by=self._by)
            return over_stored(store, self.user_id, precondition, again)

        return await self._store.write(restore, makes=False)

    def _history(self, store: ProfileStore, **which: int) -> list[ProfileChange]:
        if not isinstance(store, HistoryStore):
            raise no_history("Its history needs")
        return store.history(self.user_id, **which)

    def _update(
        self,
        store: ProfileStore,
        function: Callable[[PreferenceProfile], PreferenceProfile],
    ) -> PreferenceProfile:
        return update_profile(store, self.user_id, function, by=self._by)

    @property
    def _store(self) -> ServedStore:
        return ServedStore(self.service, self.user_id)

    @property
    def _by(self) -> str | None:
        """Who changes the profile, for its history: the key's user, or else the key."""
        return self.caller.user_id or self.caller.key_id
