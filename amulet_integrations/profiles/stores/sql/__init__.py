"""Profiles in a database: SQLite or PostgreSQL, by SQLAlchemy, with a schema of Alembic's."""
