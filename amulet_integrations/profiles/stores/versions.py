"""Version numbers, and changes that are not stored over what others have stored meanwhile."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from datetime import UTC, datetime
from typing import Any, NamedTuple

from amulet_integrations.errors import InvalidProfileError, ProfileConflictError
from amulet_integrations.profiles.profile import PreferenceProfile

from .base import Update

PATIENCE = 30.0
"""Seconds after which an update with conflict after conflict gives up."""

LEAST_TRIES = 20
"""Tries before it gives up, for a machine so busy that each try takes seconds."""


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
    """Numbers and dates a profile that is about to be stored over version `previous`."""
    return profile.model_copy(update={"version": previous + 1, "updated_at": datetime.now(UTC)})


class Version(NamedTuple):
    """Identifies a stored profile. Where numbers begin at 1 after a deletion, the times differ.

    Attributes:
        number: The version number; 0 if nothing is stored.
        updated_at: When it was stored; None if that is not known.
    """

    number: int
    updated_at: datetime | None = None

    @classmethod
    def of(cls, profile: PreferenceProfile | None) -> Version:
        """The version of a profile that was read; for None, the version of nothing stored."""
        return cls(0) if profile is None else cls(profile.version, profile.updated_at)

    @classmethod
    def read(cls, number: object, updated_at: Any) -> Version:
        """Reads a version as a store contains it; damaged values count as missing.

        Args:
            number: The stored number.
            updated_at: The stored time, in ISO 8601.
        """
        if not isinstance(number, int) or number < 0:
            return cls(0)
        try:
            return cls(number, datetime.fromisoformat(updated_at))
        except (TypeError, ValueError):
            return cls(number)

    def matches(self, other: Version) -> bool:
        """Whether both identify the same stored profile."""
        times = self.updated_at, other.updated_at
        return self.number == other.number and (None in times or times[0] == times[1])


def base_version(profile: PreferenceProfile) -> Version | None:
    """The version that `save` may store a profile over; None for any version."""
    return Version.of(profile) if profile.version else None


def check_current(user_id: str, expected: Version | None, stored: Version) -> None:
    """Refuses a profile that was made from another version than the stored one.

    Args:
        user_id: The user.
        expected: The version that the profile was made from; None if it does not matter.
        stored: The stored version.

    Raises:
        ProfileConflictError: They differ.
    """
    if expected is None or expected.matches(stored):
        return
    now = f"version {stored.number} is stored by now" if stored.number else "none is stored now"
    if expected.number == stored.number:
        now = "that one was deleted, and another one is stored by now"
    raise ProfileConflictError(
        f"The profile of {user_id!r} was made from version {expected.number}, but {now}. Read it "
        "again and repeat the change, or use store.update(user_id, function), which does so. To "
        "store it whatever is there, set version=0."
    )


def update_with_retries(
    user_id: str,
    function: Update,
    read: Callable[[str], PreferenceProfile | None],
    save_over: Callable[[PreferenceProfile, Version], PreferenceProfile],
    queue: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> PreferenceProfile:
    """Reads, changes and stores a profile, and repeats that after a conflict.

    Args:
        user_id: The user.
        function: The change; see `UpdatingProfileStore.update`.
        read: Returns the stored profile, or None.
        save_over: Stores a profile if the given version is still the stored one.
        queue: Entered after the first conflict and held to the end, so that updates with
            conflicts wait for each other.

    Raises:
        ProfileConflictError: There were conflicts for `PATIENCE` seconds and `LEAST_TRIES` times.
        InvalidProfileError: `function` does not return that user's profile.
    """
    deadline = time.monotonic() + PATIENCE
    with ExitStack() as queued:
        tries = 0
        while True:
            tries += 1
            before = read(user_id) or PreferenceProfile(user_id=user_id)
            changed = changed_profile(before, function)
            if changed is None:
                return before
            try:
                return save_over(changed, Version.of(before))
            except ProfileConflictError:
                if tries >= LEAST_TRIES and time.monotonic() > deadline:
                    raise
            if tries == 1:
                queued.enter_context(queue())
            # Random, so that two updates do not meet again and again.
            longest_pause = 0.001 * 2 ** min(tries, 6)
            time.sleep(random.uniform(0.0, longest_pause))  # noqa: S311 - nothing to guess


def changed_profile(before: PreferenceProfile, function: Update) -> PreferenceProfile | None:
    """Applies a change to a profile; None if the change leaves it as it is.

    Raises:
        InvalidProfileError: The result is no profile, or another user's.
    """
    changed = function(before)
    if changed is None:
        return None
    if check_profile(changed).user_id != before.user_id:
        raise InvalidProfileError(
            f"The update of {before.user_id!r} returned a profile of {changed.user_id!r}; return "
            "that user's own, changed by model_copy."
        )
    return changed
