"""The contexts of a profile, shared out as where answers are written."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from amulet_integrations.errors import AmuletError, EvidenceError
from amulet_integrations.learning.checks import check_type
from amulet_integrations.profiles import PreferenceProfile, active_preferences
from amulet_integrations.profiles.conditions import PreferenceContext
from amulet_integrations.profiles.grouping import group_preferences


def contexts_in_force(
    profile: PreferenceProfile, context: Mapping[str, str] | None
) -> tuple[list[str], list[float]]:
    """Texts and weights of the preference contexts of a profile, as of now.

    Args:
        profile: Whose preferences.
        context: What the calls say about themselves, for preferences with conditions.

    Raises:
        EvidenceError: No preference is in force, or the profile has a parent, whose preferences
            are not at hand here.
        InvalidParamsError: `profile` is none.
        InvalidProfileError: `context` is no mapping of strings to strings.
    """
    check_type("profile", profile, PreferenceProfile, "a PreferenceProfile")
    try:
        told = PreferenceContext(context)
    except AmuletError as error:
        raise type(error)(f"context: {error}") from error
    if profile.parent is not None:
        raise EvidenceError(
            f"The profile of {profile.user_id!r} has parent={profile.parent!r}, whose preferences "
            "shape the answers too. Pass the profile with those, as profiles.inherited gives it, "
            "and apply the estimate to the profile itself."
        )
    preferences = active_preferences(profile.preferences, datetime.now(UTC), told)
    if not preferences:
        raise EvidenceError(
            f"None of the {len(profile.preferences)} preferences of {profile.user_id!r} is in "
            "force, so there is no strength to estimate. Add one, or give the context that its "
            "conditions ask for."
        )
    return group_preferences(preferences)
