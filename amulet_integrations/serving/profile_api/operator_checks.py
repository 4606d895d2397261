"""What the operator demands of a profile before it is stored, beside the limits of the store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from amulet_integrations.concurrency.deadline import Deadline
from amulet_integrations.concurrency.fair_threads import REQUEST_THREADS
from amulet_integrations.decoding.guidance import check_guidance_scale
from amulet_integrations.profiles import Preference, PreferenceProfile

from .profile_document import read_document
from .profile_service import ProfileService


async def checked_profile(service: ProfileService, profile: PreferenceProfile) -> PreferenceProfile:
    """A profile as the operator lets it be stored; the same object where nothing is rewritten.

    Raises:
        ApiError: 400, the operator refuses a preference; 500, the operator's check fails.
        GuidanceScaleError: It is stronger than the server allows.
    """
    check_strength(service, profile)
    preferences = await _checked_preferences(service, profile.user_id, profile.preferences)
    if preferences == profile.preferences:
        return profile
    return profile.model_copy(update={"preferences": preferences})


async def checked_patch(
    service: ProfileService, user_id: str, patch: Mapping[str, Any]
) -> Mapping[str, Any]:
    """A merge patch whose preferences are as the operator lets them be stored.

    Raises:
        ApiError: 400, the operator refuses a preference; 500, the operator's check fails.
        InvalidProfileError: One is not valid.
    """
    if patch.get("preferences") is None:
        return patch
    given = {"preferences": patch["preferences"]}
    read = read_document(user_id, given, await service.alimits(user_id)).preferences
    preferences = await _checked_preferences(service, user_id, read)
    return {**patch, "preferences": [one.model_dump(mode="json") for one in preferences]}


def check_strength(service: ProfileService, profile: PreferenceProfile) -> None:
    """Refuses a profile that is stronger than the server allows.

    Raises:
        GuidanceScaleError: It is.
    """
    strength = profile.strength
    if strength.has_scale:
        scale = strength.settled().guidance_scale
        check_guidance_scale(scale, service.max_guidance_scale, str(strength))


async def _checked_preferences(
    service: ProfileService, user_id: str, preferences: Iterable[Preference]
) -> tuple[Preference, ...]:
    return await REQUEST_THREADS.arun(
        partial(service.check_preferences, user_id, preferences),
        deadline=Deadline(service.timeout),
        user_id=user_id,
    )
