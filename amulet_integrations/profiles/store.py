"""What every store of profiles does."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol, runtime_checkable

from amulet_integrations.errors import InvalidProfileError
from amulet_integrations.profiles.profile import PreferenceProfile


@runtime_checkable
class ProfileStore(Protocol):
    """Where profiles are kept, one for each user. Every method may be called from any thread."""

    def save(self, profile: PreferenceProfile) -> PreferenceProfile:
        """Stores a profile in place of the user's earlier one.

        Args:
            profile: The profile; its own `version` and `updated_at` do not matter.

        Returns:
            The profile as stored: `version` is one more than the earlier one's (1 where there is
            none, so also after a deletion), and `updated_at` is now, in UTC.
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


def check_profile(profile: object) -> PreferenceProfile:
    """Refuses to store anything but a profile.

    Raises:
        InvalidProfileError: `profile` is something else.
    """
    if isinstance(profile, PreferenceProfile):
        return profile
    raise InvalidProfileError(
        f"A {type(profile).__name__} cannot be stored; give a PreferenceProfile."
    )


def next_version(profile: PreferenceProfile, previous: int) -> PreferenceProfile:
    """Stamps a profile that is about to be stored over version `previous` (0: over nothing)."""
    return profile.model_copy(update={"version": previous + 1, "updated_at": datetime.now(UTC)})
