"""Making and migrating the tables, whoever else does so at the same time."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, select

from amulet_integrations.errors import ProfileStoreError
from amulet_integrations.profiles.stores.sql.database import Database
from amulet_integrations.profiles.stores.sql.locks import Locks
from amulet_integrations.profiles.stores.sql.tables import Tables

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory

HEAD = "0002"
"""The revision that this version of the package works with."""

FOLDER = Path(__file__).parent / "migrations"


def migrate(database: Database, tables: Tables) -> None:
    """Brings the tables to `HEAD`; where they are there already, it writes nothing.

    Raises:
        ProfileStoreError: The tables are of a newer version of the package, or of another make,
            or the database cannot be read or written.
    """
    at = database.read("open the profiles", lambda connection: _revision(connection, tables))
    if at == HEAD:
        return
    # Alembic is imported only where there is something to do.
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    scripts = ScriptDirectory(FOLDER)
    known = sorted(script.revision for script in scripts.walk_revisions())
    if at is not None and at not in known:
        raise ProfileStoreError(
            f"The profiles in {database.name} are kept by a newer version of this package: their "
            f"tables are at revision {at!r}, and this version knows {', '.join(known)}. Install "
            "the newer one: pip install --upgrade amulet-integrations"
        )

    def work(connection: Connection) -> None:
        Locks(tables.prefix).of_tables(connection)
        # Another process may have done it all while this one waited.
        if _revision(connection, tables) != HEAD:
            _upgrade(connection, tables, scripts)

    database.write("make the tables of the profiles", work)


def _revision(connection: Connection, tables: Tables) -> str | None:
    if not inspect(connection).has_table(tables.revision.name):
        return None
    return connection.scalars(select(tables.revision.c.version_num)).first()


def _upgrade(connection: Connection, tables: Tables, scripts: ScriptDirectory) -> None:
    # Not by Alembic's `command`, `context` and `op`: they are one for the whole process, and the
    # application may be in the middle of a migration of its own.
    from alembic.operations import Operations  # noqa: PLC0415
    from alembic.runtime.migration import MigrationContext, MigrationStep  # noqa: PLC0415

    def steps(current: tuple[str, ...], _: MigrationContext) -> Iterable[MigrationStep]:
        missing = reversed(list(scripts.iterate_revisions("head", current or "base")))
        return [MigrationStep.upgrade_from_script(scripts.revision_map, one) for one in missing]

    options = {"version_table": tables.revision.name, "fn": steps}
    context = MigrationContext.configure(connection, opts=options)
    context.run_migrations(op=Operations(context), prefix=tables.prefix)
