"""What every store of profiles does, and what the stores of this package do besides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from amulet_integrations.profiles.profile import PreferenceProfile

Update = Callable[[PreferenceProfile], PreferenceProfile | None]
"""Takes a profile and returns the changed one; None leaves it as it is. It may be asked again."""


@runtime_checkable
class ProfileStore(Protocol):
    """Where profiles are kept, one for each user. Every method may be called from any thread."""

    def save(self, profile: PreferenceProfile) -> PreferenceProfile:
        """Stores a profile in place of the user's earlier one.

        Args:
            profile: The profile. With version 0 (a new one) it takes the place of whatever is
                stored; with another version, which it has when it was read from a store, only of
                that very version. Its `updated_at` does not matter.

        Returns:
            The profile as stored: `version` is one more than the earlier one's (1 for a user who
            never had one), and `updated_at` is now, in UTC.

        Raises:
            ProfileConflictError: Another version is stored by now, or none any more.
            InvalidProfileError: It is no profile, or its parents form a circle.
        """
        ...

    def get(self, user_id: str) -> PreferenceProfile | None:
        """Returns the user's profile, or None where there is none.

        Raises:
            InvalidProfileError: `user_id` is no valid user id.
        """
        ...

    def delete(self, user_id: str) -> bool:
        """Deletes the user's profile; False where there was none.

        Raises:
            InvalidProfileError: `user_id` is no valid user id.
        """
        ...

    def user_ids(self) -> list[str]:
        """Lists everyone who has a profile, sorted by code point."""
        ...


@runtime_checkable
class UpdatingProfileStore(ProfileStore, Protocol):
    """A store that changes a profile without losing what others change meanwhile.

    The stores of this package all do. How far that reaches (threads, processes) each one says.
    """

    def update(self, user_id: str, function: Update) -> PreferenceProfile:
        """Reads a profile, changes it and stores it, anew as long as others come between.

        Args:
            user_id: Whose profile.
            function: Takes the profile (an empty one of version 0 where there is none) and
                returns the changed one, or None to leave it. It may be called several times, so
                it should do nothing else. What it raises ends the update; nothing is stored then.

        Returns:
            The profile as stored; where it is left as it is, the one that was read.

        Raises:
            ProfileConflictError: Others came between for too long.
            InvalidProfileError: What `function` returns is not that user's profile.
        """
        ...
