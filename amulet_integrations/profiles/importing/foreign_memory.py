"""What another store remembers of a user, before it is known whether it is a preference."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

from amulet_integrations.errors import InvalidProfileError
from amulet_integrations.profiles.field_types import LONGEST_LABEL, checked_label, is_label
from amulet_integrations.profiles.preference import Preference

_NOT_ASKED_FOR = "it is of another user than those asked for"


@dataclass(frozen=True, kw_only=True)
class ForeignMemory:
    """One memory of another store.

    Attributes:
        user_id: Whose it is.
        text: What is remembered.
        place: Where it stands in what was read, such as "results[3]" or "line 3".
        origin: The store that it comes from, such as "mem0"; it begins the preference's name.
        key: Its id there; None where it has none, as in plain text.
        kinds: What it is called there: categories, the name of its schema, the field it stands in.
        created_at: When it was made, as far as that is known.
        updated_at: When it was changed.
        expires_at: When it ends to hold.
        metadata: What else stands with it.
        obstacle: Why it can be no preference of this user, whatever it says; None where it can.
    """

    user_id: str
    text: str = field(repr=False)
    place: str
    origin: str
    key: str | None = None
    kinds: tuple[str, ...] = ()
    created_at: datetime | None = None
    updated_at: datetime | None = None
    expires_at: datetime | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict, repr=False)
    obstacle: str | None = None

    @property
    def is_not_asked_for(self) -> bool:
        """Whether it is of another user than those who are to be imported."""
        return self.obstacle == _NOT_ASKED_FOR

    @property
    def name(self) -> str | None:
        """The name of the preference that it becomes, by which it is found again."""
        if self.key is None:
            return None
        name = f"{name_prefix(self.origin)}{self.key}"
        if len(name) <= LONGEST_LABEL and is_label(name):
            return name
        digest = hashlib.sha256(name.encode(errors="backslashreplace")).hexdigest()
        return f"{name_prefix(self.origin)}sha256 {digest}"


Choose = Callable[[ForeignMemory], bool | Preference]
"""Says whether a memory is a preference, or which one it is."""


def name_prefix(origin: str) -> str:
    """What the names of all preferences from a store begin with."""
    if len(origin) > LONGEST_LABEL // 2 or not is_label(origin):
        origin = hashlib.sha256(origin.encode(errors="backslashreplace")).hexdigest()
    return f"{origin}#"


def read_time(place: str, value: Any) -> datetime | None:
    """Reads a time of another store. One without a time zone is taken as UTC, as they write it.

    Raises:
        InvalidProfileError: It is neither missing nor a time.
    """
    if value is None or value == "":
        return None
    try:
        time = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise InvalidProfileError(
            f"{place}={value!r:.80} is no time; a time such as 2026-01-31T12:00:00+00:00 was "
            "expected."
        ) from None


def read_last_day(place: str, value: Any) -> datetime | None:
    """Reads the last day on which a memory holds, and returns the moment after it, in UTC.

    Raises:
        InvalidProfileError: It is neither missing nor a date.
    """
    if value is None or value == "":
        return None
    try:
        day = value if isinstance(value, date) else date.fromisoformat(str(value)[:10])
        after = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
    except (ValueError, OverflowError):
        raise InvalidProfileError(
            f"{place}={value!r:.80} is no date; a date such as 2026-01-31 was expected."
        ) from None
    return after


def only_of(memories: list[ForeignMemory], users: list[str] | None) -> list[ForeignMemory]:
    """Memories for an import of these users alone: nothing of what others said is left.

    Args:
        memories: The memories.
        users: The users; None for all.
    """
    if users is None:
        return memories
    asked_for = set(users)
    without = partial(replace, text="", metadata={}, obstacle=_NOT_ASKED_FOR)
    return [it if it.user_id in asked_for else without(it) for it in memories]


def checked_users(user_ids: Iterable[str]) -> list[str]:
    """Checks the users to import, in their order and without repetitions.

    Raises:
        InvalidProfileError: It is a single string, or contains an invalid user id.
    """
    if isinstance(user_ids, str):
        raise InvalidProfileError("user_ids is a string; give a list of user ids.")
    return [checked_label("user_id", it) for it in dict.fromkeys(user_ids)]
