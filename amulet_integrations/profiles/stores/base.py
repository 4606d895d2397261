"""The protocols of profile stores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from amulet_integrations.profiles.profile import PreferenceProfile

Update = Callable[[PreferenceProfile], PreferenceProfile | None]
"""Returns the changed profile, or None to leave it as it is. It may be called several times."""


@runtime_checkable
class ProfileStore(Protocol):
    """Stores one profile for each user. Every method may be called from any thread."""

    def save(self, profile: PreferenceProfile) -> PreferenceProfile:
        """Stores a profile in place of the user's earlier one.

        Args:
            profile: The profile. With version 0, it replaces whatever is stored. With another
                version, such as a profile has that was read from the store, it replaces only that
                very version. Its `updated_at` is ignored.

        Returns:
            The profile as stored: `version` is one more than the earlier one's (1 for a user who
            never had one), and `updated_at` is now, in UTC.

        Raises:
            ProfileConflictError: Another version is stored by now, or none any more.
            InvalidProfileError: It is no profile, or its parents form a circle.
        """
        ...

    def get(self, user_id: str) -> PreferenceProfile | None:
        """Returns the user's profile, or None if there is none.

        Raises:
            InvalidProfileError: `user_id` is no valid user id.
        """
        ...

    def delete(self, user_id: str) -> bool:
        """Deletes the user's profile; False if there was none.

        Raises:
            InvalidProfileError: `user_id` is no valid user id.
        """
        ...

    def user_ids(self) -> list[str]:
        """Lists everyone who has a profile, sorted by code point."""
        ...


@runtime_checkable
class UpdatingProfileStore(ProfileStore, Protocol):
    """A store that changes a profile without losing changes that others make meanwhile.

    All stores of this package do so. The documentation of each store states whether that
    includes threads only, or processes too.
    """

    def update(self, user_id: str, function: Update) -> PreferenceProfile:
        """Reads a profile, changes it and stores it; repeats that while others interfere.

        Args:
            user_id: The user.
            function: Receives the profile (an empty one of version 0 if there is none) and
                returns the changed one, or None to leave it. It may be called several times, so
                it should do nothing else. If it raises an error, nothing is stored.

        Returns:
            The profile as stored; or the one that was read, if it is left as it is.

        Raises:
            ProfileConflictError: Others interfered for too long.
            InvalidProfileError: `function` does not return that user's profile.
        """
        ...
