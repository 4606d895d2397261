"""The profiles that an application serves: where they are, and what its operator allows."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Protocol

from amulet_integrations.concurrency.fair_threads import STORE_THREADS
from amulet_integrations.decoding.guidance import (
    DEFAULT_MAX_GUIDANCE_SCALE,
    LARGEST_GUIDANCE_SCALE,
    is_real_number,
)
from amulet_integrations.errors import InvalidParamsError
from amulet_integrations.personalization.call_options import checked_timeout
from amulet_integrations.profiles import Preference, ProfileLimits, ProfileStore
from amulet_integrations.profiles.profile_limits import limits_of
from amulet_integrations.profiles.stores.cached import checked_ttl
from amulet_integrations.profiles.stores.default_place import DEFAULT_PLACE
from amulet_integrations.profiles.stores.opened_stores import OpenedStores
from amulet_integrations.profiles.stores.opening import open_profile_store
from amulet_integrations.serving.api_errors import ApiError
from amulet_integrations.serving.preference_check import CheckFunction, PreferenceCheck


class OpenStore(Protocol):
    """What opens a store that another object owns, such as `AmuletClient.open_profiles`."""

    def __call__(self, *, make: bool = False) -> ProfileStore | None:
        """The store; None where there is nothing yet, unless it is to be made."""


class ProfileService:
    """The profiles of an application, for the routes below /v1/profiles and for its own.

        profiles = ProfileService("postgresql://…", preference_check=check)

    Args:
        place: A store, a database URL, the path of an SQLite file, or "default" for the place that
            AMULET_PROFILES names, or else ``profiles.db`` in the user's data folder, which the
            first write makes. It is opened by the first request. None for no profiles.
        ttl: Seconds for which `open_store`'s profiles of a database are remembered. What the
            routes read is never remembered.
        limits: What profiles in a database must not exceed. The default is `ProfileLimits()`. A
            store that is given keeps its own.
        max_guidance_scale: The largest guidance scale that is accepted.
        timeout: Seconds after which a check of preferences fails.
        preference_check: A function of a user's id (or None) and a preference's text, or its name,
            "module:function". It returns the text to use, or raises `ValueError`, whose message
            the client sees. It is called on a thread.

    Attributes:
        max_guidance_scale: The largest guidance scale.
        timeout: Seconds that a check may take; None for no end.

    Raises:
        ProfileStoreError: `place` is none of these.
        InvalidParamsError: Another value is not valid.
    """

    def __init__(
        self,
        place: ProfileStore | str | Path | OpenStore | None = DEFAULT_PLACE,
        *,
        ttl: float = 10.0,
        limits: ProfileLimits | None = None,
        max_guidance_scale: float = DEFAULT_MAX_GUIDANCE_SCALE,
        timeout: float | None = 600.0,
        preference_check: PreferenceCheck | CheckFunction | str | None = None,
    ) -> None:
        if not is_real_number(max_guidance_scale) or not (
            0 < max_guidance_scale <= LARGEST_GUIDANCE_SCALE
        ):
            raise InvalidParamsError(
                f"max_guidance_scale={max_guidance_scale!r}: give a number above 0, at most "
                f"{LARGEST_GUIDANCE_SCALE:g}."
            )
        self.max_guidance_scale: float = max_guidance_scale
        self.timeout: float | None = checked_timeout(timeout)
        self._limits = limits
        self._open = _opener(place, checked_ttl(ttl), limits)
        self._check = None if preference_check is None else PreferenceCheck.of(preference_check)

    def open_store(self, *, make: bool = False) -> ProfileStore | None:
        """Opens the store, so it may block; None as long as the default one is not made.

        Args:
            make: Whether the default one is made by the first write.

        Raises:
            ApiError: 404, there is no place for profiles.
            ProfileStoreError: The store cannot be opened.
        """
        if self._open is None:
            raise ApiError.not_found(
                "This server keeps no profiles: it was started without a place for them "
                "(--profiles).",
                code="no_profiles",
            )
        return self._open(make=make)

    def limits(self) -> ProfileLimits:
        """What a profile must not exceed. The store is opened for it, so it may block.

        Raises:
            ProfileStoreError: The store cannot be opened.
        """
        return self._limits or limits_of(None if self._open is None else self._open())

    async def alimits(self, user_id: str) -> ProfileLimits:
        """`limits` on a thread, for a user."""
        return await STORE_THREADS.start(self.limits, user_id, may_be_left=True)

    def check_preferences(
        self, user_id: str | None, preferences: Iterable[Preference]
    ) -> tuple[Preference, ...]:
        """The preferences as the operator lets them be used. It may block: call it on a thread.

        Raises:
            ApiError: 400, the operator refuses one; 500, the check fails.
        """
        if self._check is None:
            return tuple(preferences)
        return self._check.check(user_id, preferences)


def _opener(
    place: ProfileStore | str | Path | OpenStore | None, ttl: float, limits: ProfileLimits | None
) -> OpenStore | None:
    """What opens the store of a place.

    Raises:
        ProfileStoreError: It is no place.
    """
    if place is None:
        return None
    if isinstance(place, str | Path):
        return partial(OpenedStores().store, place, ttl, limits)
    if isinstance(place, ProfileStore) or not callable(place):
        given = open_profile_store(place)
        return lambda *, make=False: given  # noqa: ARG005 - it is there already
    return place
