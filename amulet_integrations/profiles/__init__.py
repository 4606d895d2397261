"""The preferences of users, and the stores that keep them."""

from typing import TYPE_CHECKING

from amulet_integrations._lazy import lazy_exports

if TYPE_CHECKING:
    from amulet_integrations.profiles.active import Verdict, active_preferences, explain
    from amulet_integrations.profiles.inheritance import inherited, line_of
    from amulet_integrations.profiles.preference import Preference
    from amulet_integrations.profiles.profile import PreferenceProfile, ProfileChange
    from amulet_integrations.profiles.scope import (
        PreferenceScope,
        current_scope,
        preference_scope,
    )
    from amulet_integrations.profiles.stores.base import ProfileStore
    from amulet_integrations.profiles.stores.cached import CachedProfileStore
    from amulet_integrations.profiles.stores.in_memory import InMemoryProfileStore
    from amulet_integrations.profiles.stores.opening import open_profile_store
    from amulet_integrations.profiles.stores.sql.sql_store import SqlProfileStore
    from amulet_integrations.profiles.stores.transfer import export_profiles, import_profiles

__all__ = [
    "CachedProfileStore",
    "InMemoryProfileStore",
    "Preference",
    "PreferenceProfile",
    "PreferenceScope",
    "ProfileChange",
    "ProfileStore",
    "SqlProfileStore",
    "Verdict",
    "active_preferences",
    "current_scope",
    "explain",
    "export_profiles",
    "import_profiles",
    "inherited",
    "line_of",
    "open_profile_store",
    "preference_scope",
]
__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        ".preference": ("Preference",),
        ".profile": ("PreferenceProfile", "ProfileChange"),
        ".inheritance": ("inherited", "line_of"),
        ".active": ("Verdict", "explain", "active_preferences"),
        ".scope": ("PreferenceScope", "current_scope", "preference_scope"),
        ".stores.cached": ("CachedProfileStore",),
        ".stores.base": ("ProfileStore",),
        ".stores.opening": ("open_profile_store",),
        ".stores.in_memory": ("InMemoryProfileStore",),
        ".stores.sql.sql_store": ("SqlProfileStore",),
        ".stores.transfer": ("export_profiles", "import_profiles"),
    },
    renamed={"in_force": "active_preferences"},
)
