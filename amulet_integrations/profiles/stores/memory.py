"""Profiles kept in this process only."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock

from amulet_integrations.profiles.characters import checked_label
from amulet_integrations.profiles.inheritance import line_of, parent_changed
from amulet_integrations.profiles.profile import PreferenceProfile
from amulet_integrations.profiles.stores.async_forms import AsyncForms
from amulet_integrations.profiles.stores.base import Update
from amulet_integrations.profiles.stores.versions import (
    Stamp,
    based_on,
    check_current,
    check_profile,
    next_version,
    updated,
)


class InMemoryProfileStore(AsyncForms):
    """A `ProfileStore` that forgets everything when the process ends, and keeps no history.

    No change is lost between threads. Each method has an async form: `asave` and so on. After a
    deletion versions begin at 1 again.

    Args:
        profiles: Profiles to begin with; each is saved as by `save`, as if it were new.
    """

    def __init__(self, profiles: Iterable[PreferenceProfile] = ()) -> None:
        self._lock = Lock()
        self._profiles: dict[str, PreferenceProfile] = {}
        for profile in profiles:
            self._save(check_profile(profile), None)

    def save(self, profile: PreferenceProfile) -> PreferenceProfile:
        """Stores a profile in place of the user's earlier one; see `ProfileStore.save`."""
        return self._save(check_profile(profile), based_on(profile))

    def get(self, user_id: str) -> PreferenceProfile | None:
        """Returns the user's profile, or None; see `ProfileStore.get`."""
        checked_label("user_id", user_id)
        with self._lock:
            return self._profiles.get(user_id)

    def delete(self, user_id: str) -> bool:
        """Deletes the user's profile; False where there was none; see `ProfileStore.delete`."""
        checked_label("user_id", user_id)
        with self._lock:
            return self._profiles.pop(user_id, None) is not None

    def user_ids(self) -> list[str]:
        """Lists everyone who has a profile, sorted by code point."""
        with self._lock:
            return sorted(self._profiles)

    def update(self, user_id: str, function: Update) -> PreferenceProfile:
        """Changes a profile without losing others' changes; see `UpdatingProfileStore.update`."""
        return updated(user_id, function, self.get, self._save)

    def __repr__(self) -> str:
        return f"InMemoryProfileStore(<{len(self._profiles):,} profiles>)"

    def _save(self, profile: PreferenceProfile, expected: Stamp | None) -> PreferenceProfile:
        with self._lock:
            earlier = self._profiles.get(profile.user_id)
            check_current(profile.user_id, expected, Stamp.of(earlier))
            if parent_changed(profile, earlier):
                line_of(profile, self._profiles.get)
            stored = next_version(profile, earlier.version if earlier else 0)
            self._profiles[profile.user_id] = stored
        return stored
