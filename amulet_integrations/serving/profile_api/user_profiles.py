"""One user's profile and its history, as one caller reads and changes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, TypeVar
from urllib.parse import quote

from fastapi import Depends, Path

from amulet_integrations.concurrency.fair_threads import STORE_THREADS
from amulet_integrations.errors import CorruptProfileError, ProfileConflictError
from amulet_integrations.profiles import (
    CachedProfileStore,
    PreferenceProfile,
    ProfileChange,
    ProfileLimits,
    ProfileStore,
)
from amulet_integrations.profiles.contradictions.contradiction_warning import (
    contradictions_told_otherwise,
)
from amulet_integrations.profiles.field_types import LABEL_SCHEMA, checked_label
from amulet_integrations.profiles.inheritance import Line, line_of
from amulet_integrations.profiles.stores.access import read_profile, update_profile
from amulet_integrations.profiles.stores.description import innermost_store
from amulet_integrations.serving.access.authentication import CallerOf
from amulet_integrations.serving.access.caller import Caller
from amulet_integrations.serving.api_errors import ApiError
from amulet_integrations.serving.server_state import ServerState, State

from .entity_tags import Precondition
from .operator_checks import check_strength, checked_profile
from .served_store import HistoryStore, no_history, open_store

T = TypeVar("T")

PROFILES_PATH = "/v1/profiles"

_MOST_TRIES = 20  # of a change that others come between


@dataclass(frozen=True)
class UserProfiles:
    """What a caller may do with one user's profile. Whether the caller may is checked before.

    Attributes:
        state: The server's state.
        caller: Who sends the request; stands in the history.
        user_id: The user.
    """

    state: ServerState
    caller: Caller
    user_id: str

    @property
    def limits(self) -> ProfileLimits:
        """What a profile must not exceed. The store checks it again."""
        return self.state.client.personalizer.limits

    async def read(self) -> PreferenceProfile:
        """The stored profile, past all caches: another process may have changed it.

        Raises:
            ApiError: 404, there is none.
            ProfileError: The store fails, or holds something else.
        """
        found = await self.reading(partial(read_profile, user_id=self.user_id))
        if found is None:
            raise self._not_found()
        return found

    async def line(self) -> Line:
        """The stored profile, its parent and so on.

        Raises:
            ApiError: 404, there is none.
            ProfileError: The store fails, or a profile may not be a parent.
        """

        def read(store: ProfileStore) -> Line | None:
            own = read_profile(store, self.user_id)
            return None if own is None else line_of(own, partial(read_profile, store), self.limits)

        if (line := await self.reading(read)) is None:
            raise self._not_found()
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
        profile = await checked_profile(self.state, profile)
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

        return await self.writing(write), created

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
                raise self._not_found()
            changed = function(stored)
            check_strength(self.state, changed)
            return changed

        return await self.writing(lambda store: self._update(store, change))

    async def delete(self, precondition: Precondition) -> None:
        """Deletes the profile; a history is kept.

        Raises:
            ApiError: 404, there is none; 412, the precondition is not met.
        """

        def delete(store: ProfileStore) -> bool:
            if isinstance(store, HistoryStore):
                return self._over_stored(
                    store, precondition, partial(store.delete, self.user_id, by=self._by)
                )
            if precondition.is_set:
                raise no_history("If-Match and If-None-Match on DELETE need")
            return store.delete(self.user_id)

        if not await self.writing(delete, makes=False):
            raise self._not_found()

    async def erase(self, precondition: Precondition) -> None:
        """Deletes the profile with its history, so that nothing of it is left.

        Raises:
            ApiError: 404, there is neither; 412, the precondition is not met.
        """

        def erase(store: ProfileStore) -> bool:
            if not isinstance(store, HistoryStore):
                raise no_history("erase=true needs")
            return self._over_stored(store, precondition, partial(store.erase, self.user_id))

        if not await self.writing(erase, makes=False):
            raise self._not_found()

    async def history(self, limit: int | None) -> list[ProfileChange]:
        """The newest changes of the profile, the oldest of them first.

        Raises:
            ApiError: 404, there are none, or the store keeps none.
        """

        def read(store: ProfileStore) -> list[ProfileChange]:
            if not isinstance(store, HistoryStore):
                raise no_history("Its history needs")
            return store.history(self.user_id, limit=limit)

        changes = await self.reading(read)
        if not changes:
            raise self._not_found()
        return changes

    async def restore(self, version: int, precondition: Precondition) -> PreferenceProfile:
        """Stores an earlier version once more.

        Where the operator's check rewrites a preference, what is stored is no restored version
        but a new one, and so it is called in the history.

        Raises:
            ApiError: 404, there is no history; 412, the precondition is not met.
            InvalidProfileError: There is no such version.
        """
        changes = await self.history(None)
        wanted = next((it.profile for it in changes if it.version == version), None)
        if (
            wanted is not None
            and (checked := await checked_profile(self.state, wanted)) is not wanted
        ):
            return (await self.put(checked, precondition))[0]

        def restore(store: ProfileStore) -> PreferenceProfile:
            assert isinstance(store, HistoryStore)  # noqa: S101 - its history was read
            again = partial(store.restore, self.user_id, version, by=self._by)
            return self._over_stored(store, precondition, again)

        return await self.writing(restore, makes=False)

    async def reading(self, work: Callable[[ProfileStore], T]) -> T:
        """Reads the store, on a thread.

        Raises:
            ApiError: 404, the server has no profiles.
        """
        return await STORE_THREADS.start(
            lambda: work(innermost_store(self._store(make=False))), self.user_id, may_be_left=True
        )

    async def writing(self, work: Callable[[ProfileStore], T], *, makes: bool = True) -> T:
        """Writes the store, on a thread; caches forget the user.

        Args:
            work: What to do with the store.
            makes: Whether the default database is made if there is none.

        Raises:
            ApiError: 404, the server has no profiles.
        """

        def write() -> T:
            store = outer = self._store(make=makes)
            try:
                with contradictions_told_otherwise():  # the response tells them
                    return work(innermost_store(store))
            finally:
                while isinstance(outer, CachedProfileStore):
                    outer.forget(self.user_id)
                    outer = outer.store

        return await STORE_THREADS.finish(write, self.user_id)

    def _store(self, *, make: bool) -> ProfileStore:
        store = open_store(self.state, make=make)
        if store is None:
            raise self._not_found()
        return store

    def _update(
        self,
        store: ProfileStore,
        function: Callable[[PreferenceProfile], PreferenceProfile],
    ) -> PreferenceProfile:
        return update_profile(store, self.user_id, function, by=self._by)

    def _over_stored(
        self, store: ProfileStore, precondition: Precondition, write: Callable[..., T]
    ) -> T:
        """Writes over the very profile that meets a precondition, and reads it anew if need be."""
        if not precondition.is_set:
            return write()
        for tries in range(1, _MOST_TRIES + 1):
            before = read_profile(store, self.user_id)
            precondition.check(before)
            try:
                return write(expected=before)
            except ProfileConflictError:
                if tries == _MOST_TRIES:
                    raise
        raise AssertionError  # pragma: no cover - the last try has returned or raised

    @property
    def _by(self) -> str | None:
        """Who changes the profile, for its history: the key's user, or else the key."""
        return self.caller.user_id or self.caller.key_id

    def _not_found(self) -> ApiError:
        return ApiError.not_found(
            f"There is no profile of {self.user_id!r}. Make one: PUT {profile_path(self.user_id)}",
            code="profile_not_found",
        )


def profile_path(user_id: str) -> str:
    """The path of a user's profile."""
    return f"{PROFILES_PATH}/{quote(user_id, safe='')}"


async def _user_profiles(
    user_id: Annotated[
        str,
        Path(
            description="The user; percent-encoded, slashes too.",
            json_schema_extra=LABEL_SCHEMA,
        ),
    ],
    state: State,
    caller: CallerOf,
) -> UserProfiles:
    # First, so that nobody learns anything of another's id.
    caller.check_may_use(user_id)
    return UserProfiles(state, caller, checked_label("user_id", user_id))


ProfilesOf = Annotated[UserProfiles, Depends(_user_profiles)]
"""A route's parameter of this type is the user in the path, whom the caller may act for."""
