"""The tables of a store, and their migration, which several processes may begin at once."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Column, Connection, Integer, MetaData, String, Table, Text, inspect, select

from amulet_integrations.errors import ProfileStoreError
from amulet_integrations.installation import upgrade_command
from amulet_integrations.profiles.field_types import LONGEST_LABEL

from .advisory_locks import AdvisoryLocks
from .database import Database

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory

LARGEST_VERSION = 2**31 - 1

HEAD = "0002"
"""The revision of the tables that this version of the package needs."""

FOLDER = Path(__file__).parent / "migrations"

_PREFIX = re.compile(r"(?!sqlite_)[a-z][a-z0-9_]{0,29}")


class Tables:
    """The tables whose names begin with a prefix.

    Attributes:
        prefix: The beginning of the names.
        profiles: One row for each user who has a profile.
        changes: One row for each change, also of users who no longer have a profile.
        revision: One row: the last migration of the tables.

    Raises:
        ProfileStoreError: The prefix is no short lower-case identifier.
    """

    def __init__(self, prefix: str) -> None:
        if not isinstance(prefix, str) or not _PREFIX.fullmatch(prefix):
            raise ProfileStoreError(
                f"table_prefix={prefix!r:.80} cannot begin the names of tables. Give 1 to 30 "
                "characters: a lower-case letter, then lower-case letters, digits and "
                "underscores; not sqlite_."
            )
        self.prefix = prefix
        metadata = MetaData()
        self.profiles = Table(
            f"{prefix}profiles",
            metadata,
            Column("user_id", String(LONGEST_LABEL), primary_key=True),
            Column("version", Integer, nullable=False),
            # ISO 8601 with its offset; as text, so that damage is found where rows are read.
            Column("updated_at", String(32), nullable=False),
            # JSON of all other fields; as text for the same reason.
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


def migrate(database: Database, tables: Tables) -> None:
    """Brings the tables to `HEAD`. If they are there already, nothing is written.

    Raises:
        ProfileStoreError: The tables are of a newer version of the package, or were not made by
            this package, or the database cannot be read or written.
    """
    revision = database.read("open the profiles", lambda connection: _revision(connection, tables))
    if revision == HEAD:
        return
    # Alembic is imported only if there is something to do.
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    scripts = ScriptDirectory(FOLDER)
    known = sorted(script.revision for script in scripts.walk_revisions())
    if revision is not None and revision not in known:
        raise ProfileStoreError(
            f"The profiles in {database.name} are kept by a newer version of this package: their "
            f"tables are at revision {revision!r}, and this version knows {', '.join(known)}. "
            f"Install the newer one: {upgrade_command()}"
        )

    def work(connection: Connection) -> None:
        AdvisoryLocks(connection, tables.prefix).tables()
        # Another process may have migrated while this one waited for the lock.
        if _revision(connection, tables) != HEAD:
            _upgrade(connection, tables, scripts)

    database.write("make the tables of the profiles", work)


def _revision(connection: Connection, tables: Tables) -> str | None:
    if not inspect(connection).has_table(tables.revision.name):
        return None
    return connection.scalars(select(tables.revision.c.version_num)).first()


def _upgrade(connection: Connection, tables: Tables, scripts: ScriptDirectory) -> None:
    # Alembic's `command`, `context` and `op` are global to the process, and the application may
    # be in the middle of a migration of its own.
    from alembic.operations import Operations  # noqa: PLC0415
    from alembic.runtime.migration import MigrationContext, MigrationStep  # noqa: PLC0415

    def steps(current: tuple[str, ...], _: MigrationContext) -> Iterable[MigrationStep]:
        missing = reversed(list(scripts.iterate_revisions("head", current or "base")))
        return [MigrationStep.upgrade_from_script(scripts.revision_map, one) for one in missing]

    options = {"version_table": tables.revision.name, "fn": steps}
    context = MigrationContext.configure(connection, opts=options)
    context.run_migrations(op=Operations(context), prefix=tables.prefix)
