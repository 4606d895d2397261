"""Going back to an earlier version of a profile."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from amulet_integrations.errors import CorruptProfileError, InvalidProfileError
from amulet_integrations.profiles.profile import PreferenceProfile
from amulet_integrations.profiles.stores.sql.records import Records
from amulet_integrations.profiles.stores.sql.tables import LARGEST_VERSION

_MOST_RANGES = 20  # of versions that a message names


def checked_number(what: str, value: object) -> int:
    """Checks a number that counts from 1.

    Returns:
        The number, or where it is larger than any version, the largest.

    Raises:
        InvalidProfileError: It is something else.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return min(value, LARGEST_VERSION)
    raise InvalidProfileError(f"{what}={value!r:.80} is no whole number of at least 1.")


def version_to_restore(
    records: Records, connection: Connection, user_id: str, version: int
) -> PreferenceProfile:
    """The profile as it was at a version.

    Raises:
        InvalidProfileError: There is no such version, or it is a deletion.
        CorruptProfileError: The entry in the history is damaged.
    """
    change = records.change(connection, user_id, version)
    if change is not None and change.profile is not None:
        return change.profile
    if change is not None and change.problem is not None:
        raise CorruptProfileError(
            f"Version {version} of {user_id!r} cannot be restored: its entry in the history is "
            f"damaged ({change.problem}). Restore another one."
        )
    missing = "is a deletion" if change is not None else "does not exist"
    there = ranges(records.restorable(connection, user_id))
    choice = f"Versions that can be restored: {there}." if there else "There is none to restore."
    raise InvalidProfileError(f"version={version} of {user_id!r} {missing}. {choice}")


def ranges(numbers: Sequence[int]) -> str:
    """Writes sorted numbers as ranges, such as "1-3, 5"; of very many, the last ones."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    told = [f"{first}-{last}" if last > first else str(first) for first, last in spans]
    return ", ".join((["…"] if len(told) > _MOST_RANGES else []) + told[-_MOST_RANGES:])
