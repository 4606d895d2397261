"""Profiles that build on others: a user's on the organisation's, that one on the default."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from functools import reduce

from amulet_integrations.decoding.strength import Strength
from amulet_integrations.errors import InvalidProfileError
from amulet_integrations.profiles.profile import PreferenceProfile

LONGEST_LINE = 8
"""Most profiles of a line: the user's own and those above it."""

Line = tuple[PreferenceProfile, ...]
"""A profile, its parent, the parent's parent and so on."""

LineSteps = Generator[str, PreferenceProfile | None, Line]
"""The walk up a line: it yields the id of each parent, and is sent what a store holds of it."""


def iter_ancestors(profile: PreferenceProfile) -> LineSteps:
    """Walks up from a profile, for callers that read from threads and from event loops alike.

    A parent that is not stored ends the line, as a user without a profile has no preferences.

    Raises:
        InvalidProfileError: The line comes back to a profile that is in it already, or is longer
            than `LONGEST_LINE`.
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
        found = yield parent
        if found is None:
            break
        line.append(found)
    return tuple(line)


def line_of(profile: PreferenceProfile, read: Callable[[str], PreferenceProfile | None]) -> Line:
    """`iter_ancestors`, with a function that reads profiles.

    Args:
        profile: The profile to start from.
        read: Returns the stored profile of an id, or None.

    Raises:
        InvalidProfileError: The line is a circle, or too long.
    """
    steps, found = iter_ancestors(profile), None
    while True:
        try:
            parent = steps.send(found)
        except StopIteration as end:
            line: Line = end.value
            return line
        found = read(parent)


def parent_changed(profile: PreferenceProfile, earlier: PreferenceProfile | None) -> bool:
    """Whether a profile has a parent that it did not have before, so that its line may be wrong.

    Others are not looked at: a line that somebody made too long further up must not keep a user
    from changing a preference.
    """
    return profile.parent is not None and profile.parent != (earlier and earlier.parent)


def inherited(line: Sequence[PreferenceProfile]) -> PreferenceProfile:
    """The first profile of a line with all that holds by the others: it needs no parent any more.

    Those furthest up come first. Of preferences that have one name, the one nearest to the user
    holds, also while its own conditions are not met: the name decides. The method, the strength
    and its bound are the nearest ones that are given.
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
