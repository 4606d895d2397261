"""The store that a server's profiles are in, and what one with a history can do."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from amulet_integrations.profiles import PreferenceProfile, ProfileChange, ProfileStore
from amulet_integrations.serving.api_errors import ApiError
from amulet_integrations.serving.server_state import ServerState


@runtime_checkable
class HistoryStore(Protocol):
    """A store that keeps the history of its profiles, as `SqlProfileStore` does."""

    def save(self, profile: PreferenceProfile, *, by: str | None = None) -> PreferenceProfile:
        """Stores a profile."""

    def delete(
        self, user_id: str, *, by: str | None = None, expected: PreferenceProfile | None = None
    ) -> bool:
        """Deletes a profile, if the expected one is stored."""

    def history(self, user_id: str, *, limit: int | None = None) -> list[ProfileChange]:
        """Lists the changes of a profile."""

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


def open_store(state: ServerState, *, make: bool = False) -> ProfileStore | None:
    """Opens the store of the server, so it may block; None as long as the default one is not made.

    Args:
        state: The server's state.
        make: Whether the default one is made by the first write.

    Raises:
        ApiError: 404, the server was started without profiles.
        ProfileStoreError: The store cannot be opened.
    """
    if state.client.profiles is None:
        raise ApiError.not_found(
            "This server keeps no profiles: it was started without a place for them (--profiles).",
            code="no_profiles",
        )
    return state.client.open_profiles(make=make)
