"""Reads and updates any store, including those that others wrote: what they return is checked.

The async forms begin with "a". They leave the event loop free: they call the store's own
async methods where it has them, and otherwise run on a thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from amulet_integrations.concurrency.fair_threads import STORE_THREADS
from amulet_integrations.errors import AmuletError, AmuletWarning, ProfileStoreError
from amulet_integrations.profiles.inheritance import (
    inherited,
    iter_ancestors,
    line_of,
    parent_changed,
)
from amulet_integrations.profiles.profile import PreferenceProfile
from amulet_integrations.profiles.profile_limits import ProfileLimits, limits_of
from amulet_integrations.profiles.sync_async import arun_steps, async_form

from .base import ProfileStore, Update, UpdatingProfileStore
from .keyed_lock import KeyedLock
from .versions import changed_profile

# For stores that have no `update`: a lock for each user, whichever object leads to the profile.
_LOCK = KeyedLock()

# The errors of these methods may quote what was to be written.
_WRITES = {"put", "save", "update"}


def read_profile(store: ProfileStore, user_id: str) -> PreferenceProfile | None:
    """Reads the stored profile of a user, without its parents; None if there is none.

    Raises:
        ProfileStoreError: The store fails, or returns something else than that user's profile.
        ProfileError: Whatever else the store raises.
    """
    with foreign_errors(store, "get"):
        found = store.get(user_id)
    return _checked(store, user_id, found)


async def aread_profile(
    store: ProfileStore, user_id: str, *, owner: str | None = None
) -> PreferenceProfile | None:
    """The async form of `read_profile`, for the user `owner`; by default the one who is read."""
    if (aget := async_form(store, "get")) is None:
        work = partial(read_profile, store, user_id)
        return await STORE_THREADS.start(work, owner or user_id, may_be_left=True)
    with foreign_errors(store, "get"):
        found = await aget(user_id)
    return _checked(store, user_id, found)


def read_whole_profile(
    store: ProfileStore, wanted: str | PreferenceProfile, limits: ProfileLimits | None = None
) -> PreferenceProfile | None:
    """Reads the profile of a user, merged with its parents; None if there is none.

    Args:
        store: The store.
        wanted: The user, or the profile itself, of which only the parents are read.
        limits: Say which profiles may be parents; by default the store's.

    Raises:
        ProfileLimitError: A parent may not be one.
        InvalidProfileError: The profile's parents form a circle.
        ProfileStoreError: The store fails, or returns something else than a profile.
        ProfileError: Whatever else the store raises.
    """
    own = read_profile(store, wanted) if isinstance(wanted, str) else wanted
    if own is None or own.parent is None:
        return own
    return inherited(line_of(own, partial(read_profile, store), limits or limits_of(store)))


async def aread_whole_profile(
    store: ProfileStore, wanted: str | PreferenceProfile, limits: ProfileLimits | None = None
) -> PreferenceProfile | None:
    """The async form of `read_whole_profile`."""
    own = await aread_profile(store, wanted) if isinstance(wanted, str) else wanted
    if own is None or own.parent is None:
        return own
    steps = iter_ancestors(own, limits or limits_of(store))
    read = partial(aread_profile, store, owner=own.user_id)
    return inherited(await arun_steps(steps, read))


def update_profile(
    store: ProfileStore,
    user_id: str,
    function: Update,
    *,
    by: str | None = None,
    limits: ProfileLimits | None = None,
) -> PreferenceProfile:
    """Changes a profile by the store's own `update`.

    A store without `update` is read and then written under a lock: no other change *of this
    process* comes between.

    Args:
        store: The store.
        user_id: The user.
        function: The change; see `UpdatingProfileStore.update`.
        by: Who makes it, for stores that keep a history.
        limits: What the profile must not exceed; by default the store's limits.

    Returns:
        The profile after the change.

    Raises:
        ProfileLimitError: The changed profile exceeds a limit.
        ProfileError: The store fails, or contains something else than a profile; or as `update`.
    """
    function = _within(limits or limits_of(store), function)
    if isinstance(store, UpdatingProfileStore):
        with _guarded(store, function) as change:
            return store.update(user_id, change, **_author(store, by))
    with _LOCK.hold(user_id):
        before = read_profile(store, user_id) or PreferenceProfile(user_id=user_id)
        changed = changed_profile(before, function)
        if changed is None:
            return before
        with foreign_errors(store, "save"):
            return store.save(changed)


async def aupdate_profile(
    store: ProfileStore,
    user_id: str,
    function: Update,
    *,
    by: str | None = None,
    limits: ProfileLimits | None = None,
) -> PreferenceProfile:
    """The async form of `update_profile`. `function` may be called on a thread."""
    if (aupdate := async_form(store, "update")) is None:
        # All of it runs on one thread, which goes on to its end if the task is cancelled.
        work = partial(update_profile, store, user_id, function, by=by, limits=limits)
        return await STORE_THREADS.start(work, user_id)
    function = _within(limits or limits_of(store), function)
    with _guarded(store, function) as change:
        changed: PreferenceProfile = await aupdate(user_id, change, **_author(store, by))
    return changed


@contextmanager
def foreign_errors(owner: object, name: str, own: Sequence[Exception] = ()) -> Iterator[None]:
    """Turns whatever the method of a foreign object raises into a `ProfileStoreError`.

    Args:
        owner: The object.
        name: The name of the method.
        own: Errors that are raised as they are, as those of this package are.

    Raises:
        ProfileStoreError: The block raised another error.
    """
    try:
        yield
    except (AmuletError, AmuletWarning):
        raise
    except Exception as error:  # foreign code may raise anything
        if any(error is one for one in own):
            raise
        raise ProfileStoreError(
            f"{type(owner).__name__}.{name} failed: {type(error).__name__}. No profile could be "
            "read or written there; check that store."
        ) from (None if name in _WRITES else error)


def _within(limits: ProfileLimits, function: Update) -> Update:
    """A change whose result is within limits, also where the store does not check it."""

    def change(before: PreferenceProfile) -> PreferenceProfile | None:
        changed = function(before)
        if isinstance(changed, PreferenceProfile):  # else the store refuses it
            limits.check_saved(changed, lambda: before)
            if changed.parent is not None and parent_changed(changed, before):
                limits.check_parent(changed.user_id, changed.parent)
        return changed

    return change


@contextmanager
def _guarded(store: ProfileStore, function: Update) -> Iterator[Update]:
    """Guards a store's `update`. The errors of the change itself are raised as they are."""
    own: list[Exception] = []

    def change(profile: PreferenceProfile) -> PreferenceProfile | None:
        try:
            return function(profile)
        except Exception as error:
            own.append(error)
            raise

    with foreign_errors(store, "update", own):
        yield change


def _author(store: ProfileStore, by: str | None) -> dict[str, str | None]:
    """The argument for stores with a history, whose `update` takes it."""
    return {"by": by} if hasattr(store, "history") else {}


def _checked(store: ProfileStore, user_id: str, found: object) -> PreferenceProfile | None:
    if found is None or (isinstance(found, PreferenceProfile) and found.user_id == user_id):
        return found
    is_profile = isinstance(found, PreferenceProfile)
    what = "another user's profile" if is_profile else f"a {type(found).__name__}"
    raise ProfileStoreError(
        f"{type(store).__name__}.get returned {what} for user_id={user_id!r}; a store returns "
        "that user's PreferenceProfile, or None."
    )
