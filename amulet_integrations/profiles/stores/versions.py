"""Counting versions, and refusing to store what somebody else has changed since."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime
from typing import Any, NamedTuple

from amulet_integrations.errors import InvalidProfileError, ProfileConflictError
from amulet_integrations.profiles.profile import PreferenceProfile
from amulet_integrations.profiles.stores.base import Update

PATIENCE = 30.0
"""Seconds after which an update that others always come before gives up."""

LEAST_TRIES = 20
"""Tries before it gives up, on a machine so busy that each takes seconds."""

_LONGEST_PAUSE = 0.05


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


class Stamp(NamedTuple):
    """Which stored profile it is: where versions begin anew, the time tells it from an earlier one.

    Attributes:
        version: The version; 0 for none.
        updated_at: When it was stored; None where that is not known.
    """

    version: int
    updated_at: datetime | None = None

    @classmethod
    def of(cls, profile: PreferenceProfile | None) -> Stamp:
        """That of a profile as it was read; of None, that of nothing stored."""
        return cls(0) if profile is None else cls(profile.version, profile.updated_at)

    @classmethod
    def read(cls, version: object, updated_at: Any) -> Stamp:
        """That of what a store holds; where it is damaged, as much as can be read of it.

        Args:
            version: As stored; no version where it is not a whole number from 0 up.
            updated_at: As stored, in ISO 8601.
        """
        if not isinstance(version, int) or version < 0:
            return cls(0)
        try:
            return cls(version, datetime.fromisoformat(updated_at))
        except (TypeError, ValueError):
            return cls(version)

    def is_of(self, other: Stamp) -> bool:
        """Whether both are of one stored profile."""
        times = self.updated_at, other.updated_at
        return self.version == other.version and (None in times or times[0] == times[1])


def based_on(profile: PreferenceProfile) -> Stamp | None:
    """What a profile may be stored over, by its own version; None for anything."""
    return Stamp.of(profile) if profile.version else None


def check_current(user_id: str, expected: Stamp | None, stored: Stamp) -> None:
    """Refuses a profile that was made from another one than the one that is stored.

    Args:
        user_id: Whose profile.
        expected: What it was made from; None where that does not matter.
        stored: What is stored.

    Raises:
        ProfileConflictError: They differ.
    """
    if expected is None or expected.is_of(stored):
        return
    now = f"version {stored.version} is stored by now" if stored.version else "none is stored now"
    if expected.version == stored.version:
        now = "that one was deleted, and another one is stored by now"
    raise ProfileConflictError(
        f"The profile of {user_id!r} was made from version {expected.version}, but {now}. Read it "
        "again and repeat the change, or use store.update(user_id, function), which does so. To "
        "store it whatever is there, set version=0."
    )


def updated(
    user_id: str,
    function: Update,
    read: Callable[[str], PreferenceProfile | None],
    save_over: Callable[[PreferenceProfile, Stamp], PreferenceProfile],
    queue: Callable[[str], AbstractContextManager[object]] | None = None,
) -> PreferenceProfile:
    """Changes a profile, anew as long as others come between.

    Args:
        user_id: Whose profile.
        function: The change; see `UpdatingProfileStore.update`.
        read: Returns the stored profile, or None.
        save_over: Stores a profile if what it was made from is still what is stored.
        queue: Is entered with the user's id after the first conflict, and held to the end: those
            who lost wait there for each other, and not a little while each.

    Raises:
        ProfileConflictError: Others came between for `PATIENCE` seconds and `LEAST_TRIES` times.
        InvalidProfileError: What `function` returns is not that user's profile.
    """
    deadline, pauses, tries = time.monotonic() + PATIENCE, _pauses(), 0
    with ExitStack() as waiting:
        while True:
            tries += 1
            before = read(user_id) or PreferenceProfile(user_id=user_id)
            changed = changed_profile(before, function)
            if changed is None:
                return before
            try:
                return save_over(changed, Stamp.of(before))
            except ProfileConflictError:
                if tries >= LEAST_TRIES and time.monotonic() > deadline:
                    raise
            if queue is None:
                time.sleep(next(pauses))
            elif tries == 1:
                waiting.enter_context(queue(user_id))


def changed_profile(before: PreferenceProfile, function: Update) -> PreferenceProfile | None:
    """What a change makes of a profile; None where it leaves it.

    Raises:
        InvalidProfileError: It is not a profile, or another user's.
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


def _pauses() -> Iterator[float]:
    """Seconds to wait: longer and longer, and never the same as those one collided with."""
    longest = 0.001
    while True:
        yield random.uniform(0.0, longest)  # noqa: S311 - nothing to guess
        longest = min(2.0 * longest, _LONGEST_PAUSE)
