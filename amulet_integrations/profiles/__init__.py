"""What each user prefers, and where that is kept. Knows no torch and no prompt text."""

from amulet_integrations._lazy import lazy_exports

_EXPORTS = {
    "Preference": ".preference",
    "PreferenceProfile": ".profile",
    "ProfileStore": ".store",
    "open_profile_store": ".store",
    "InMemoryProfileStore": ".memory",
    "SqlProfileStore": ".sql",
    "PreferenceScope": ".scope",
    "preference_scope": ".scope",
    "current_scope": ".scope",
    "in_force": ".selection",
}

__all__ = list(_EXPORTS)
__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)
