"""Asking a store that somebody else may have written: what it returns is checked.

The functions with an "a" leave the event loop free: they use the store's own async methods where
it has them (`aget`, `aupdate`), and otherwise a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from inspect import iscoroutinefunction
from typing import Any, Protocol, runtime_checkable

from amulet_integrations.errors import AmuletError, ProfileStoreError
from amulet_integrations.profiles.inheritance import inherited, iter_ancestors, line_of
from amulet_integrations.profiles.profile import PreferenceProfile
from amulet_integrations.profiles.stores.base import (
    ProfileStore,
    Update,
    UpdatingProfileStore,
)
from amulet_integrations.profiles.stores.keyed_lock import Turns
from amulet_integrations.profiles.stores.versions import changed_profile

# For stores that only save: one turn for each user, whichever object leads to the profile.
_TURNS = Turns()


@runtime_checkable
class AuthoredProfileStore(UpdatingProfileStore, Protocol):
    """A store that keeps a history, and in it who made each change."""

    @property
    def history(self) -> Callable[..., Any]:
        """Lists the changes of a user's profile."""
        ...

    def update(self, user_id: str, function: Update, *, by: str | None = None) -> PreferenceProfile:
        """See `UpdatingProfileStore.update`.

        Args:
            user_id: Whose profile.
            function: The change.
            by: Who makes it.
        """
        ...


def read_profile(store: ProfileStore, user_id: str) -> PreferenceProfile | None:
    """The stored profile of a user, without what it inherits; None where there is none.

    Raises:
        ProfileStoreError: The store fails, or returns something else than that user's profile.
        ProfileError: Whatever else the store raises.
    """
    with _errors_are_ours(store, "get"):
        found = store.get(user_id)
    return _checked(store, user_id, found)


async def aread_profile(store: ProfileStore, user_id: str) -> PreferenceProfile | None:
    """As `read_profile`."""
    if (aget := async_form(store, "aget")) is None:
        return await asyncio.to_thread(read_profile, store, user_id)
    with _errors_are_ours(store, "get"):
        found = await aget(user_id)
    return _checked(store, user_id, found)


def read_whole_profile(store: ProfileStore, user_id: str) -> PreferenceProfile | None:
    """The profile of a user with what its parents add; None where there is none.

    Raises:
        InvalidProfileError: The profile's parents form a circle.
        ProfileStoreError: The store fails, or returns something else than a profile.
        ProfileError: Whatever else the store raises.
    """
    own = read_profile(store, user_id)
    return own and with_parents(store, own)


async def aread_whole_profile(store: ProfileStore, user_id: str) -> PreferenceProfile | None:
    """As `read_whole_profile`."""
    own = await aread_profile(store, user_id)
    return own and await awith_parents(store, own)


async def awith_parents(store: ProfileStore, profile: PreferenceProfile) -> PreferenceProfile:
    """As `with_parents`."""
    steps, found = iter_ancestors(profile), None
    while True:
        try:
            parent = steps.send(found)
        except StopIteration as end:
            return inherited(end.value)
        found = await aread_profile(store, parent)


def with_parents(store: ProfileStore, profile: PreferenceProfile) -> PreferenceProfile:
    """A profile with what its parents, as stored, add to it.

    Raises:
        InvalidProfileError: The parents form a circle.
        ProfileStoreError: The store fails, or returns something else than a profile.
    """
    return inherited(line_of(profile, lambda user_id: read_profile(store, user_id)))


def update_profile(
    store: ProfileStore, user_id: str, function: Update, *, by: str | None = None
) -> PreferenceProfile:
    """Changes a profile by the store's own `update`.

    A store without one is read and written in turns: no other change *of this process* comes
    between.

    Args:
        store: The store.
        user_id: Whose profile.
        function: The change; see `UpdatingProfileStore.update`.
        by: Who makes it, for stores that keep a history; the others are not told.

    Returns:
        The profile as it is then.

    Raises:
        ProfileError: The store fails, or what it holds is not a profile; or as by `update`.
    """
    if isinstance(store, UpdatingProfileStore):
        change = _Watched(function)
        with _errors_are_ours(store, "update", change):
            return store.update(user_id, change, **_author(store, by))
    with _TURNS.turn(user_id):
        before = read_profile(store, user_id) or PreferenceProfile(user_id=user_id)
        changed = changed_profile(before, function)
        if changed is None:
            return before
        with _errors_are_ours(store, "save"):
            return store.save(changed)


async def aupdate_profile(
    store: ProfileStore, user_id: str, function: Update, *, by: str | None = None
) -> PreferenceProfile:
    """As `update_profile`; `function` may be called on a thread."""
    if (aupdate := async_form(store, "aupdate")) is None:
        # All of it on one thread, which goes on to its end where the task is cancelled.
        return await asyncio.to_thread(update_profile, store, user_id, function, by=by)
    change = _Watched(function)
    with _errors_are_ours(store, "update", change):
        changed: PreferenceProfile = await aupdate(user_id, change, **_author(store, by))
    return changed


def async_form(store: ProfileStore, name: str) -> Callable[..., Awaitable[Any]] | None:
    """A store's own async method of this name; None where it has none."""
    method = getattr(store, name, None)
    return method if iscoroutinefunction(method) else None


class _Watched:
    """A change whose own errors can be told from those of the store that asks it."""

    def __init__(self, function: Update) -> None:
        self._function = function
        self.error: Exception | None = None

    def __call__(self, profile: PreferenceProfile) -> PreferenceProfile | None:
        try:
            return self._function(profile)
        except Exception as error:
            self.error = error
            raise


def _author(store: ProfileStore, by: str | None) -> dict[str, Any]:
    return {"by": by} if isinstance(store, AuthoredProfileStore) else {}


def _checked(store: ProfileStore, user_id: str, found: object) -> PreferenceProfile | None:
    if found is None or (isinstance(found, PreferenceProfile) and found.user_id == user_id):
        return found
    is_profile = isinstance(found, PreferenceProfile)
    what = "another user's profile" if is_profile else f"a {type(found).__name__}"
    raise ProfileStoreError(
        f"{type(store).__name__}.get returned {what} for user_id={user_id!r}; a store returns "
        "that user's PreferenceProfile, or None."
    )


@contextmanager
def _errors_are_ours(
    store: ProfileStore, name: str, change: _Watched | None = None
) -> Iterator[None]:
    try:
        yield
    except AmuletError:
        raise
    except Exception as error:  # a store of somebody else's may raise anything
        if change and change.error is error:
            raise
        # What a failed write raises may quote what was to be written.
        raise ProfileStoreError(
            f"{type(store).__name__}.{name} failed: {type(error).__name__}. Check the store of "
            "profiles."
        ) from (error if name == "get" else None)
