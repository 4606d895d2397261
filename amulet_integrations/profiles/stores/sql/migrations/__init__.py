"""The Alembic scripts that make and change the tables."""
