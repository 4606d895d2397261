"""What each user prefers, and where that is kept. Knows no torch and no prompt text."""

from typing import TYPE_CHECKING

from amulet_integrations._lazy import lazy_exports

if TYPE_CHECKING:
    from amulet_integrations.profiles.memory import InMemoryProfileStore
    from amulet_integrations.profiles.opening import open_profile_store
    from amulet_integrations.profiles.preference import Preference
    from amulet_integrations.profiles.profile import PreferenceProfile
    from amulet_integrations.profiles.scope import (
        PreferenceScope,
        current_scope,
        preference_scope,
    )
    from amulet_integrations.profiles.selection import in_force
    from amulet_integrations.profiles.sql import SqlProfileStore
    from amulet_integrations.profiles.store import ProfileStore

__all__ = [
    "InMemoryProfileStore",
    "Preference",
    "PreferenceProfile",
    "PreferenceScope",
    "ProfileStore",
    "SqlProfileStore",
    "current_scope",
    "in_force",
    "open_profile_store",
    "preference_scope",
]
__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        ".preference": ("Preference",),
        ".profile": ("PreferenceProfile",),
        ".selection": ("in_force",),
        ".scope": ("PreferenceScope", "current_scope", "preference_scope"),
        ".store": ("ProfileStore",),
        ".opening": ("open_profile_store",),
        ".memory": ("InMemoryProfileStore",),
        ".sql": ("SqlProfileStore",),
    },
)
