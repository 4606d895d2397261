"""Asking a store that somebody else may have written: what it returns is checked."""

from __future__ import annotations

from typing import Any, Literal

from amulet_integrations.errors import AmuletError, ProfileStoreError
from amulet_integrations.profiles.profile import PreferenceProfile
from amulet_integrations.profiles.store import ProfileStore


def read_profile(store: ProfileStore, user_id: str) -> PreferenceProfile | None:
    """The stored profile of a user; None where there is none.

    Raises:
        ProfileStoreError: The store fails, or returns something else than that user's profile.
        ProfileError: Whatever else the store raises.
    """
    return checked_profile(store, user_id, ask_store(store, "get", user_id))


def checked_profile(store: ProfileStore, user_id: str, found: object) -> PreferenceProfile | None:
    """What a store found for a user, if it is that user's.

    Raises:
        ProfileStoreError: It is no profile, or another user's.
    """
    if found is None or (isinstance(found, PreferenceProfile) and found.user_id == user_id):
        return found
    is_profile = isinstance(found, PreferenceProfile)
    what = "another user's profile" if is_profile else f"a {type(found).__name__}"
    raise ProfileStoreError(
        f"{type(store).__name__}.get returned {what} for user_id={user_id!r}; a store returns "
        "that user's PreferenceProfile, or None."
    )


def ask_store(store: ProfileStore, method: Literal["get", "save"], argument: Any) -> Any:
    """Calls a store, with errors of ours.

    Raises:
        ProfileStoreError: The store raised an error of another kind.
        ProfileError: Whatever else the store raises.
    """
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
