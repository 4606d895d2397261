"""From profiles to rows, and from rows, which may be damaged, to profiles."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple, TypeVar, get_args

from pydantic_core import from_json
from sqlalchemy import Row

from amulet_integrations.errors import AmuletError, CorruptProfileError
from amulet_integrations.profiles.characters import checked_label
from amulet_integrations.profiles.instants import as_utc
from amulet_integrations.profiles.limits import as_stored
from amulet_integrations.profiles.profile import PreferenceProfile
from amulet_integrations.profiles.stores.changes import Action, ProfileChange
from amulet_integrations.profiles.stores.sql.damaged import is_sound, label_of, text_of
from amulet_integrations.profiles.stores.sql.tables import LARGEST_VERSION
from amulet_integrations.profiles.stores.versions import Stamp

T = TypeVar("T")

FAULTS = (AmuletError, TypeError, ValueError)
"""What reading a damaged row raises."""


class Deed(NamedTuple):
    """What is done to a profile, and by whom."""

    action: Action
    by: str | None


def body_of(profile: PreferenceProfile) -> str:
    """All of a profile that has no column of its own, as JSON."""
    return profile.model_dump_json(exclude={"user_id", "version", "updated_at"})


def profile_of(user_id: str, version: Any, updated_at: Any, body: Any) -> PreferenceProfile:
    """The profile in a row.

    Raises:
        AmuletError: A value is out of its range.
        TypeError, ValueError: It is not even JSON of the right kind.
    """
    read = from_json(body)
    if not isinstance(read, dict):
        raise TypeError(f"its body is a JSON {type(read).__name__}, not an object")
    columns = {"user_id": user_id, "version": version, "updated_at": updated_at}
    with as_stored():
        return PreferenceProfile(**read, **columns)


def stored_profile(row: Row[Any], place: str) -> PreferenceProfile:
    """The profile in a row of the table of profiles.

    Raises:
        CorruptProfileError: What the row holds is not a profile.
    """
    try:
        return profile_of(row.user_id, row.version, row.updated_at, row.body)
    except FAULTS as error:
        problem = str(error)
    user_id = text_of(row.user_id)
    # Nothing can be saved over a row whose user id is damaged.
    over = "Save a new profile over it, or delete it" if is_sound(row.user_id) else "Delete it"
    raise CorruptProfileError(
        f"What {place} holds for user {user_id!r} is not a profile ({problem}). {over}: "
        f"store.delete({user_id!r}), or amulet profile remove."
    )


def version_of(row: Row[Any]) -> int:
    """The version in a row; 0 where it is damaged."""
    version = row.version
    sound = isinstance(version, int) and 0 <= version < LARGEST_VERSION
    return version if sound else 0


def stamp_of(row: Row[Any] | None) -> Stamp:
    """Which profile a row holds; where there is none or it is damaged, none."""
    return Stamp(0) if row is None else Stamp.read(version_of(row), row.updated_at)


def change_of(row: Row[Any]) -> ProfileChange:
    """The change in a row of the history; a damaged one with its `problem`."""
    problems: list[str] = []

    def read(what: Callable[[], T]) -> T | None:
        try:
            return what()
        except FAULTS as error:
            problems.append(str(error))
            return None

    version = version_of(row)
    read(lambda: checked_label("user_id", row.user_id))
    at = read(lambda: as_utc("changed_at", datetime.fromisoformat(row.changed_at)))
    by = read(lambda: None if row.changed_by is None else checked_label("by", row.changed_by))
    action = read(lambda: _action(row.action))
    is_gone = action == "delete" and row.body is None
    profile = (
        None
        if is_gone
        else read(lambda: profile_of(row.user_id, row.version, row.changed_at, row.body))
    )
    return ProfileChange(
        user_id=label_of(row.user_id),
        version=version,
        at=at,
        by=by,
        action=action,
        profile=profile,
        problem="; ".join(dict.fromkeys(problems)) or None,
    )


def _action(name: object) -> Action:
    for action in get_args(Action):
        if action == name:
            found: Action = action
            return found
    raise ValueError("its action is none that is known")
