"""The store in a database, SQLite or PostgreSQL, by SQLAlchemy and with migrations by Alembic."""
