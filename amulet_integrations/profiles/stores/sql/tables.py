"""The tables of a store."""

from __future__ import annotations

import re

from sqlalchemy import Column, Integer, MetaData, String, Table, Text

from amulet_integrations.errors import ProfileStoreError
from amulet_integrations.profiles.characters import LONGEST_LABEL

LARGEST_VERSION = 2**31 - 1

_PREFIX = re.compile(r"(?!sqlite_)[a-z][a-z0-9_]{0,29}")


def checked_prefix(prefix: object) -> str:
    """Checks what the names of the tables begin with.

    Raises:
        ProfileStoreError: It is no short lower-case identifier.
    """
    if isinstance(prefix, str) and _PREFIX.fullmatch(prefix):
        return prefix
    raise ProfileStoreError(
        f"table_prefix={prefix!r:.80} cannot begin the names of tables. Give 1 to 30 characters: "
        "a lower-case letter, then lower-case letters, digits and underscores; not sqlite_."
    )


class Tables:
    """The tables whose names begin with a prefix.

    Attributes:
        prefix: What the names begin with.
        profiles: One row for each user who has a profile.
        changes: One row for each change that was ever made, also of users without a profile.
        revision: One row: the migration that the tables are at.

    Raises:
        ProfileStoreError: It is no short lower-case identifier.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = checked_prefix(prefix)
        metadata = MetaData()
        self.profiles = Table(
            f"{prefix}profiles",
            metadata,
            Column("user_id", String(LONGEST_LABEL), primary_key=True),
            Column("version", Integer, nullable=False),
            # ISO 8601 with its offset, as text, so that damage is found by our own reader.
            Column("updated_at", String(32), nullable=False),
            # JSON of everything else; as text for the same reason.
            Column("body", Text, nullable=False),
        )
        self.changes = Table(
            f"{prefix}profile_changes",
            metadata,
            Column("user_id", String(LONGEST_LABEL), primary_key=True),
            Column("version", Integer, primary_key=True, autoincrement=False),
            Column("changed_at", String(32), nullable=False),
            Column("changed_by", String(LONGEST_LABEL)),
            Column("action", String(16), nullable=False),
            Column("body", Text),
        )
        self.revision = Table(
            f"{prefix}alembic_version", metadata, Column("version_num", String(32))
        )
