"""Makes the table of changes. Each profile that exists becomes the first entry of its history."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0002"
down_revision = "0001"

_LARGEST_VERSION = 2**31 - 1


def upgrade(op: Operations, prefix: str) -> None:
    """Makes the table, and adds an entry for each profile that has none."""
    name = f"{prefix}profile_changes"
    if not sa.inspect(op.get_bind()).has_table(name):
        op.create_table(
            name,
            sa.Column("user_id", sa.String(256), primary_key=True),
            sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("changed_at", sa.String(32), nullable=False),
            sa.Column("changed_by", sa.String(256)),
            sa.Column("action", sa.String(16), nullable=False),
            sa.Column("body", sa.Text),
        )
    changes = sa.table(
        name, *map(sa.column, ("user_id", "version", "changed_at", "action", "body"))
    )
    profiles = sa.table(
        f"{prefix}profiles", *map(sa.column, ("user_id", "version", "updated_at", "body"))
    )
    known = sa.select(sa.literal(1)).where(changes.c.user_id == profiles.c.user_id)
    # A damaged version is left out; the next change of that profile gets version 1.
    first = sa.select(
        profiles.c.user_id,
        profiles.c.version,
        profiles.c.updated_at,
        sa.literal("import"),
        profiles.c.body,
    ).where(profiles.c.version.between(1, _LARGEST_VERSION), ~known.exists())
    op.execute(changes.insert().from_select(list(changes.c.keys()), first))
