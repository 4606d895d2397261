"""User ids that are none: what a damaged row may hold in place of one, and how to get rid of it."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import ColumnElement, Connection, LargeBinary, Table, Text, cast, literal, or_

from amulet_integrations.errors import InvalidProfileError
from amulet_integrations.profiles.characters import LONGEST_LABEL, checked_label

_NOT_IN_POSTGRES = re.compile("[\0\ud800-\udfff]")
_NOT_IN_SQLITE = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # the others stand for damaged bytes


def text_of(user_id: Any) -> str:
    """A user id as it stands in a row, as text: SQLite may hold one as bytes."""
    if isinstance(user_id, bytes):
        return user_id.decode("utf-8", "surrogateescape")
    return str(user_id)


def is_sound(user_id: object) -> bool:
    """Whether it is a user id."""
    try:
        checked_label("user_id", user_id)
    except InvalidProfileError:
        return False
    return True


def label_of(user_id: Any) -> str:
    """A user id as it stands in a row, so that it can be shown."""
    text = text_of(user_id)
    return text if is_sound(text) else repr(text)[:LONGEST_LABEL]


def check_name(user_id: object) -> None:
    """Refuses what cannot even be the user id of a damaged row.

    Raises:
        InvalidProfileError: It is no string, or empty.
    """
    if not isinstance(user_id, str) or not user_id:
        checked_label("user_id", user_id)


def named(connection: Connection, table: Table, user_id: str) -> ColumnElement[bool]:
    """The condition that a row is that of a user, even if its user id is damaged.

    Raises:
        InvalidProfileError: No database of this kind can hold such a user id.
    """
    column = table.c.user_id
    postgres = connection.dialect.name == "postgresql"
    if (_NOT_IN_POSTGRES if postgres else _NOT_IN_SQLITE).search(user_id):
        checked_label("user_id", user_id)
    if postgres:
        return column == user_id
    raw = literal(user_id.encode("utf-8", "surrogateescape"), LargeBinary)
    text = literal(user_id) if is_sound(user_id) else cast(raw, Text)
    return or_(column == text, column == raw)
