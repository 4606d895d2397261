"""Profiles that build on others: a user's on the organisation's, and that one on a default."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from functools import reduce
from typing import Any

from amulet_integrations.decoding.strength import Strength
from amulet_integrations.errors import InvalidProfileError

from .profile import PreferenceProfile
from .profile_limits import ProfileLimits
from .sync_async import run_steps

LONGEST_LINE = 8
"""Most profiles of a line: the user's own and those above it."""

Line = tuple[PreferenceProfile, ...]
"""A profile, its parent, the parent's parent and so on."""


def _ask(user_id: str) -> Generator[str, PreferenceProfile | None, PreferenceProfile | None]:
    """Yields the id, and is sent the stored profile."""
    return (yield user_id)


def iter_ancestors(
    profile: PreferenceProfile,
    limits: ProfileLimits,
    read: Callable[[str], Generator[Any, Any, PreferenceProfile | None]] = _ask,
) -> Generator[Any, Any, Line]:
    """Walks up from a profile; see `run_steps` and `arun_steps`.

    A parent that is not stored ends the line.

    Args:
        profile: The profile to start from.
        limits: Say which profiles may be parents. No other one is read.
        read: Reads the stored profile of an id in steps. By default, the only step is the id, and
            its reply is the profile.

    Returns:
        The line: the profile and its ancestors.

    Raises:
        ProfileLimitError: A profile of the line may not be a parent.
        InvalidProfileError: The line contains a profile twice, or is longer than `LONGEST_LINE`.
    """
    line = [profile]
    while (parent := line[-1].parent) is not None:
        ids = [one.user_id for one in line]
        if parent in ids:
            circle = " -> ".join(repr(one) for one in (*ids, parent))
            raise InvalidProfileError(
                f"parent={parent!r} closes a circle: {circle}. Give one of them another parent."
            )
        if len(line) == LONGEST_LINE:
            raise InvalidProfileError(
                f"parent={parent!r} makes a line of more than {LONGEST_LINE} profiles, from "
                f"{profile.user_id!r} up. Give one of them a parent further up."
            )
        limits.check_parent(line[-1].user_id, parent)
        found = yield from read(parent)
        if found is None:
            break
        line.append(found)
    return tuple(line)


def line_of(
    profile: PreferenceProfile,
    read: Callable[[str], PreferenceProfile | None],
    limits: ProfileLimits | None = None,
) -> Line:
    """Reads the line of a profile: the profile itself, its parent and so on.

    Args:
        profile: The profile to start from.
        read: Returns the stored profile of an id, or None.
        limits: Say which profiles may be parents. By default those that the environment variable
            AMULET_PROFILE_PARENTS names, or else none.

    Raises:
        ProfileLimitError: A profile of the line may not be a parent.
        InvalidProfileError: The line contains a profile twice, or is longer than `LONGEST_LINE`.
    """
    limits = ProfileLimits() if limits is None else limits
    return run_steps(iter_ancestors(profile, limits), read)


def parent_changed(profile: PreferenceProfile, earlier: PreferenceProfile | None) -> bool:
    """Whether a profile has a new parent, so that its line has to be checked.

    Where the parent is the same, the line is not checked: even if the line has become too long
    further up, the user must be able to change a preference.
    """
    return profile.parent is not None and profile.parent != (earlier and earlier.parent)


def inherited(line: Sequence[PreferenceProfile]) -> PreferenceProfile:
    """Merges a line of profiles into its first one, which then needs no parent any more.

    The preferences of the profile furthest up come first. Of preferences with the same name, only
    the one nearest to the user counts, even while its own conditions are not met. The method, the
    strength and its bound are taken from the nearest profile that gives them.

    Args:
        line: A profile, its parent and so on; see `line_of`.
    """
    own, *above = line
    if not above:
        return own if own.parent is None else own.model_copy(update={"parent": None})
    overridden: set[str] = set()
    groups = []
    for one in line:
        groups.append([it for it in one.preferences if it.name not in overridden])
        overridden.update(it.name for it in one.preferences if it.name is not None)
    strength = reduce(Strength.over, [one.strength for one in line])
    return own.model_copy(
        update={
            "parent": None,
            "preferences": tuple(it for group in reversed(groups) for it in group),
            "method": next((one.method for one in line if one.method is not None), None),
            **dict(strength),
        }
    )
