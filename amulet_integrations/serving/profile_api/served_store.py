"""The store that an application's profiles are in, and what one with a history can do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

from amulet_integrations.concurrency.fair_threads import STORE_THREADS
from amulet_integrations.errors import ProfileConflictError
from amulet_integrations.profiles import (
    CachedProfileStore,
    PreferenceProfile,
    ProfileChange,
    ProfileStore,
)
from amulet_integrations.profiles.contradictions.contradiction_warning import (
    contradictions_told_otherwise,
)
from amulet_integrations.profiles.stores.access import read_profile
from amulet_integrations.profiles.stores.description import innermost_store
from amulet_integrations.serving.api_errors import ApiError

from .entity_tags import Precondition
from .profile_paths import profile_path
from .profile_service import ProfileService

T = TypeVar("T")

_MOST_TRIES = 20  # of a change that others come between


@runtime_checkable
class HistoryStore(Protocol):
    """A store that keeps the history of its profiles, as `SqlProfileStore` does."""

    def save(self, profile: PreferenceProfile, *, by: str | None = None) -> PreferenceProfile:
        """Stores a profile."""

    def delete(
        self, user_id: str, *, by: str | None = None, expected: PreferenceProfile | None = None
    ) -> bool:
        """Deletes a profile, if the expected one is stored."""

    def history(
        self, user_id: str, *, limit: int | None = None, version: int | None = None
    ) -> list[ProfileChange]:
        """Lists the newest changes of a profile, or the one that made a version."""

    def restore(
        self,
        user_id: str,
        version: int,
        *,
        by: str | None = None,
        expected: PreferenceProfile | None = None,
    ) -> PreferenceProfile:
        """Stores an earlier version again, over the expected one."""

    def erase(self, user_id: str, *, expected: PreferenceProfile | None = None) -> bool:
        """Deletes a profile with its history, if the expected one is stored."""


def no_history(what: str) -> ApiError:
    """404: what was asked for is only there where a history is kept."""
    return ApiError.not_found(
        f"{what} a store that keeps a history, and this server's does not. Keep the profiles in a "
        "database (--profiles).",
        code="no_history",
    )


@dataclass(frozen=True)
class ServedStore:
    """The store of an application, on threads, as work for one user uses it.

    Attributes:
        service: The profiles of the application.
        user_id: The user.
    """

    service: ProfileService
    user_id: str

    async def read(self, work: Callable[[ProfileStore], T]) -> T:
        """Reads the store, past all caches.

        Args:
            work: What to do with the store.

        Raises:
            ApiError: 404, the application keeps no profiles, or there are none yet.
        """
        return await STORE_THREADS.start(
            lambda: work(innermost_store(self._open(make=False))), self.user_id, may_be_left=True
        )

    async def write(self, work: Callable[[ProfileStore], T], *, makes: bool = True) -> T:
        """Writes the store; caches forget the user.

        Args:
            work: What to do with the store.
            makes: Whether the default database is made if there is none.

        Raises:
            ApiError: 404, the application keeps no profiles, or there are none yet.
        """

        def write() -> T:
            store = outer = self._open(make=makes)
            try:
                with contradictions_told_otherwise():  # the response tells them
                    return work(innermost_store(store))
            finally:
                while isinstance(outer, CachedProfileStore):
                    outer.forget(self.user_id)
                    outer = outer.store

        return await STORE_THREADS.finish(write, self.user_id)

    def no_profile(self) -> ApiError:
        """404: nothing is stored for the user."""
        return ApiError.not_found(
            f"There is no profile of {self.user_id!r}. Make one: PUT {profile_path(self.user_id)}",
            code="profile_not_found",
        )

    def _open(self, *, make: bool) -> ProfileStore:
        store = self.service.open_store(make=make)
        if store is None:
            raise self.no_profile()
        return store


def over_stored(
    store: ProfileStore, user_id: str, precondition: Precondition, write: Callable[..., T]
) -> T:
    """Writes over the very profile that meets a precondition, and reads it anew if need be.

    Args:
        store: The store.
        user_id: The user.
        precondition: What the stored profile has to be.
        write: f(expected=profile) writes over that profile; f() over any.
    """
    if not precondition.is_set:
        return write()
    for tries in range(1, _MOST_TRIES + 1):
        before = read_profile(store, user_id)
        precondition.check(before)
        try:
            return write(expected=before)
        except ProfileConflictError:
            if tries == _MOST_TRIES:
                raise
    raise AssertionError  # pragma: no cover - the last try has returned or raised
