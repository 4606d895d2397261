"""Storing many profiles at once, by few statements: each takes a journey to the server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, Select, delete, func, insert, select

from amulet_integrations.profiles.profile import PreferenceProfile
from amulet_integrations.profiles.stores.sql.rows import Deed, body_of, version_of
from amulet_integrations.profiles.stores.sql.tables import LARGEST_VERSION, Tables
from amulet_integrations.profiles.stores.versions import next_version

T = TypeVar("T")

_AT_ONCE = 500  # ids in a statement; drivers have a limit


def store_all(
    connection: Connection, tables: Tables, profiles: Sequence[PreferenceProfile], deed: Deed
) -> list[PreferenceProfile]:
    """Stores profiles of different users over whatever is there, with their entries.

    Whoever calls it holds everyone's lock.

    Returns:
        The profiles as stored, in order.
    """
    user_ids = [profile.user_id for profile in profiles]
    last = last_versions(connection, tables, user_ids)
    stored = [next_version(profile, last.get(profile.user_id, 0)) for profile in profiles]
    rows, entries = [], []
    for one in stored:
        now = one.updated_at.isoformat() if one.updated_at else ""
        both = {"user_id": one.user_id, "version": one.version, "body": body_of(one)}
        rows.append({**both, "updated_at": now})
        entries.append({**both, "changed_at": now, "changed_by": deed.by, "action": deed.action})
    for part in _parts(user_ids):
        connection.execute(delete(tables.profiles).where(tables.profiles.c.user_id.in_(part)))
    for table, values in ((tables.profiles, rows), (tables.changes, entries)):
        for some in _parts(values):
            connection.execute(insert(table), some)
    return stored


def last_versions(
    connection: Connection, tables: Tables, user_ids: Sequence[str]
) -> dict[str, int]:
    """The last version of each user that ever had a profile."""
    last: dict[str, int] = {}
    rows, noted = tables.profiles.c, tables.changes.c
    for part in _parts(user_ids):
        # Processes with an earlier version of this package lock rows, and write no history.
        standing: Select[Any] = select(rows.user_id, rows.version).where(rows.user_id.in_(part))
        for row in connection.execute(standing.with_for_update()):
            last[row.user_id] = version_of(row)
        newest = (
            select(noted.user_id, func.max(noted.version))
            .where(noted.user_id.in_(part), noted.version.between(1, LARGEST_VERSION - 1))
            .group_by(noted.user_id)
        )
        for user_id, version in connection.execute(newest):
            last[user_id] = max(last.get(user_id, 0), version)
    return last


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + _AT_ONCE] for start in range(0, len(items), _AT_ONCE))
