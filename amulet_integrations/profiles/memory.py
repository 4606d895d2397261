"""Profiles kept in this process only."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock

from amulet_integrations.profiles.characters import checked_label
from amulet_integrations.profiles.profile import PreferenceProfile
from amulet_integrations.profiles.store import check_profile, next_version


class InMemoryProfileStore:
    """A `ProfileStore` that forgets everything when the process ends.

    Args:
        profiles: Profiles to begin with; each is saved as by `save`.
    """

    def __init__(self, profiles: Iterable[PreferenceProfile] = ()) -> None:
        self._lock = Lock()
        self._profiles: dict[str, PreferenceProfile] = {}
        for profile in profiles:
            self.save(profile)

    def save(self, profile: PreferenceProfile) -> PreferenceProfile:
        """Stores a profile in place of the user's earlier one; see `ProfileStore.save`."""
        check_profile(profile)
        with self._lock:
            earlier = self._profiles.get(profile.user_id)
            stored = next_version(profile, earlier.version if earlier else 0)
            self._profiles[profile.user_id] = stored
        return stored

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

    def __repr__(self) -> str:
        return f"InMemoryProfileStore(<{len(self._profiles):,} profiles>)"
