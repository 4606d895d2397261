"""Converts profiles to rows, and rows, which may be damaged, to profiles."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar, cast, get_args

from pydantic_core import from_json
from sqlalchemy import ColumnElement, Connection, LargeBinary, Row, Table, Text, literal, or_

from amulet_integrations.errors import AmuletError, CorruptProfileError
from amulet_integrations.profiles.field_types import (
    LONGEST_LABEL,
    as_utc,
    checked_label,
    is_label,
    stored_texts_accepted,
)
from amulet_integrations.profiles.profile import Action, PreferenceProfile, ProfileChange

from .schema import LARGEST_VERSION

T = TypeVar("T")

_FAULTS = (AmuletError, TypeError, ValueError)
"""What reading a damaged row raises."""


def id_text(user_id: Any) -> str:
    """The user id of a row as text. SQLite may have stored it as bytes."""
    if isinstance(user_id, bytes):
        return user_id.decode("utf-8", "surrogateescape")
    return str(user_id)


def has_id(connection: Connection, table: Table, user_id: str) -> ColumnElement[bool]:
    """The condition that a row is of a user, even if the user id in it is damaged.

    Raises:
        InvalidProfileError: No database of this kind can contain such a user id.
    """
    column = table.c.user_id
    if connection.dialect.name == "postgresql":
        if re.search("[\0\ud800-\udfff]", user_id):
            checked_label("user_id", user_id)
        return column == user_id
    try:
        raw = literal(user_id.encode("utf-8", "surrogateescape"), LargeBinary)
    except UnicodeEncodeError:
        checked_label("user_id", user_id)
        raise
    return or_(column == raw.cast(Text), column == raw)


def row_of(profile: PreferenceProfile) -> dict[str, object]:
    """The columns of the row of a profile."""
    return {
        "user_id": profile.user_id,
        "version": profile.version,
        "updated_at": profile.updated_at and profile.updated_at.isoformat(),
        "body": profile.model_dump_json(exclude={"user_id", "version", "updated_at"}),
    }


def profile_of(row: Row[Any], place: str) -> PreferenceProfile:
    """The profile in a row of the table of profiles.

    Args:
        row: The row.
        place: The name of the database, for the message.

    Raises:
        CorruptProfileError: The row does not contain a profile.
    """
    try:
        return _read(row.user_id, row.version, row.updated_at, row.body)
    except _FAULTS as error:
        problem = str(error)
    # Nothing can be saved over a row with a damaged user id.
    over = "Save a new profile over it, or delete it" if is_label(row.user_id) else "Delete it"
    user_id = id_text(row.user_id)
    raise CorruptProfileError(
        f"What {place} holds for user {user_id!r} is not a profile ({problem}). {over}: "
        f"store.delete({user_id!r}), or amulet profile remove."
    )


def version_of(row: Row[Any]) -> int:
    """The version number in a row; 0 if it is damaged."""
    version = row.version
    return version if isinstance(version, int) and 0 <= version < LARGEST_VERSION else 0


def change_of(row: Row[Any]) -> ProfileChange:
    """The change in a row of the history; a damaged one with its `problem`."""
    problems: list[str] = []

    def read(what: Callable[[], T]) -> T | None:
        try:
            return what()
        except _FAULTS as error:
            problems.append(str(error))
            return None

    user_id = read(lambda: checked_label("user_id", row.user_id))
    at = read(lambda: as_utc("changed_at", datetime.fromisoformat(row.changed_at)))
    by = read(lambda: None if row.changed_by is None else checked_label("by", row.changed_by))
    action = read(lambda: _action(row.action))
    profile = None
    if action != "delete" or row.body is not None:
        profile = read(lambda: _read(row.user_id, row.version, row.changed_at, row.body))
    return ProfileChange(
        user_id=user_id or _shown_id(row.user_id),
        version=version_of(row),
        at=at,
        by=by,
        action=action,
        profile=profile,
        problem="; ".join(dict.fromkeys(problems)) or None,
    )


def _read(user_id: str, version: Any, updated_at: Any, body: Any) -> PreferenceProfile:
    fields = from_json(body)
    if not isinstance(fields, dict):
        raise TypeError(f"its body is a JSON {type(fields).__name__}, not an object")
    columns = {"user_id": user_id, "version": version, "updated_at": updated_at}
    with stored_texts_accepted():
        return PreferenceProfile(**fields, **columns)


def _shown_id(user_id: Any) -> str:
    text = id_text(user_id)
    return text if is_label(text) else repr(text)[:LONGEST_LABEL]


def _action(name: object) -> Action:
    if name not in get_args(Action):
        raise ValueError("its action is unknown")
    return cast("Action", name)
