"""A store of profiles in this process only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

from amulet_integrations.concurrency.fork_safe import ForkSafeLock
from amulet_integrations.profiles.contradictions.contradiction_warning import (
    warn_of_contradictions,
)
from amulet_integrations.profiles.field_types import checked_label
from amulet_integrations.profiles.inheritance import line_of, parent_changed
from amulet_integrations.profiles.profile import PreferenceProfile
from amulet_integrations.profiles.profile_limits import ProfileLimits
from amulet_integrations.profiles.sync_async import on_thread

from .base import Update
from .shared_store import SharedStore, not_picklable
from .versions import (
    Version,
    base_version,
    check_current,
    check_profile,
    next_version,
    update_with_retries,
)


class InMemoryProfileStore(SharedStore):
    """A `ProfileStore` whose contents end with the process. It keeps no history.

    No change is lost between threads. Each method has an async form: `asave` and so on. After a
    deletion, versions begin at 1 again.

    Args:
        profiles: Profiles to begin with; each is saved as a new one.
        limits: What profiles must not exceed, and who may be a parent. The default is
            `ProfileLimits()`.

    Attributes:
        limits: The limits.

    Raises:
        InvalidProfileError: One of `profiles` is no profile, or not within the limits.
    """

    def __init__(
        self,
        profiles: Iterable[PreferenceProfile] = (),
        *,
        limits: ProfileLimits | None = None,
    ) -> None:
        self.limits: ProfileLimits = ProfileLimits() if limits is None else limits
        self._lock = ForkSafeLock()
        self._profiles: dict[str, PreferenceProfile] = {}
        for profile in profiles:
            self._save(check_profile(profile), None)

    def save(self, profile: PreferenceProfile) -> PreferenceProfile:
        """Stores a profile in place of the user's earlier one; see `ProfileStore.save`."""
        return self._save(check_profile(profile), base_version(profile))

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
        return update_with_retries(user_id, function, self.get, self._save)

    asave = on_thread(save)
    aget = on_thread(get, reads=True)
    adelete = on_thread(delete)
    auser_ids = on_thread(user_ids, reads=True)
    aupdate = on_thread(update)

    def __reduce__(self) -> NoReturn:
        raise not_picklable(self, "its profiles are in the memory of this process")

    def __repr__(self) -> str:
        return f"InMemoryProfileStore(<{len(self._profiles):,} profiles>)"

    def _save(self, profile: PreferenceProfile, expected: Version | None) -> PreferenceProfile:
        warn_of_contradictions(profile)
        with self._lock:
            earlier = self._profiles.get(profile.user_id)
            check_current(profile.user_id, expected, Version.of(earlier))
            self.limits.check_saved(profile, lambda: earlier)
            if parent_changed(profile, earlier):
                line_of(profile, self._profiles.get, self.limits)
            stored = next_version(profile, earlier.version if earlier else 0)
            self._profiles[profile.user_id] = stored
        return stored
