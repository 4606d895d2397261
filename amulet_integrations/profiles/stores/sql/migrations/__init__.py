"""The history of the tables: Alembic's scripts, one for each change of them."""
