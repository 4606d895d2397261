"""Makes the table of profiles. Databases from before the migrations have it already."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

from amulet_integrations.errors import ProfileStoreError

revision = "0001"
down_revision = None

_COLUMNS = {"user_id", "version", "updated_at", "body"}


def upgrade(op: Operations, prefix: str) -> None:
    """Makes the table, or keeps the one that is there."""
    name = f"{prefix}profiles"
    inspector = sa.inspect(op.get_bind())
    if not inspector.has_table(name):
        op.create_table(
            name,
            sa.Column("user_id", sa.String(256), primary_key=True),
            sa.Column("version", sa.Integer, nullable=False),
            sa.Column("updated_at", sa.String(32), nullable=False),
            sa.Column("body", sa.Text, nullable=False),
        )
    elif missing := _COLUMNS - {column["name"] for column in inspector.get_columns(name)}:
        raise ProfileStoreError(
            f"The table {name} is of another make: it has no column {min(missing)}. Give another "
            "table_prefix, or another database."
        )
