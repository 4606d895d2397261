"""Tables are made and migrated once, however many start at once, and nothing else changes."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from datetime import UTC, datetime

import psycopg
import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory

from amulet_integrations.errors import CorruptProfileError, ProfileStoreError
from amulet_integrations.installation import upgrade_command
from amulet_integrations.profiles import PreferenceProfile, SqlProfileStore
from amulet_integrations.profiles.stores.sql.schema import FOLDER, HEAD, Tables
from tests.support.sql_writers import context, open_at_once, open_without_alembic

ANN = PreferenceProfile(user_id="ann", preferences=["Be brief."])
OLD_TABLE = """
CREATE TABLE amulet_profiles (
    user_id VARCHAR(256) NOT NULL, version INTEGER NOT NULL, updated_at VARCHAR(32) NOT NULL,
    body TEXT NOT NULL, PRIMARY KEY (user_id)
)
"""
BODY = '{"preferences": [{"text": "Be brief."}]}'
THEN = "2026-01-02T03:04:05.678901+00:00"
OUR_TABLES = {"amulet_profiles", "amulet_profile_changes", "amulet_alembic_version"}


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "postgresql":
        return request.getfixturevalue("postgres_url")
    return f"sqlite:///{tmp_path / 'profiles.db'}"


def run(url, *commands):
    """Runs statements as the application that owns the database would."""
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        for command in commands:
            result = connection.exec_driver_sql(command)
        rows = result.fetchall() if result.returns_rows else []
    engine.dispose()
    return [tuple(row) for row in rows]


def tables_of(url):
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    names = set(sa.inspect(engine).get_table_names())
    engine.dispose()
    return names


def make_old(url):
    values = [("ann", 3), ("bob", 1)]
    rows = [
        f"INSERT INTO amulet_profiles VALUES ('{user_id}', {version}, '{THEN}', '{BODY}')"  # noqa: S608
        for user_id, version in values
    ]
    run(url, OLD_TABLE, *rows)


def make(place):
    """Makes the tables; a database that does not exist is made by the first write."""
    with SqlProfileStore(place) as store:
        store.save(ANN)


def test_the_head_is_that_of_the_scripts():
    scripts = ScriptDirectory(FOLDER)
    assert scripts.get_heads() == [HEAD]
    assert [one.revision for one in scripts.walk_revisions()] == ["0002", "0001"]


def test_the_scripts_make_the_tables_that_the_store_uses(url):
    make(url)
    assert tables_of(url) == OUR_TABLES
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    ours = Tables("amulet_")
    for table in (ours.profiles, ours.changes):
        made = sa.Table(table.name, sa.MetaData(), autoload_with=engine)
        assert [
            (one.name, str(one.type), one.nullable, one.primary_key) for one in made.columns
        ] == [(one.name, str(one.type), one.nullable, one.primary_key) for one in table.columns]
    engine.dispose()


def test_the_profiles_of_earlier_versions_are_taken_over(url):
    make_old(url)
    with SqlProfileStore(url) as store:
        ann = store.get("ann")
        assert (ann.version, ann.preferences) == (3, ANN.preferences)
        (change,) = store.history("ann")
        assert (change.version, change.action, change.by) == (3, "import", None)
        assert change.at == datetime.fromisoformat(THEN)
        assert change.at.tzinfo == UTC
        assert change.profile == ann
        assert store.save(ann).version == 4
        assert [one.version for one in store.history("ann")] == [3, 4]
    with SqlProfileStore(url) as again:
        assert [one.version for one in again.history("ann")] == [3, 4]


def test_damaged_rows_of_earlier_versions_survive(tmp_path):
    path = tmp_path / "profiles.db"
    make_old(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as connection, connection:
        command = "INSERT INTO amulet_profiles VALUES (?, ?, ?, ?)"
        damaged = [
            ("body", 2, THEN, "{"),
            ("blob", 2, THEN, b"\xff"),
            ("many", "many", THEN, BODY),
            ("huge", 2**60, THEN, BODY),
            ("then", 5, "yesterday", BODY),
        ]
        connection.executemany(command, damaged)
    with SqlProfileStore(path) as store:
        assert store.user_ids() == ["ann", "blob", "bob", "body", "huge", "many", "then"]
        for user_id in ("body", "blob", "many", "then"):
            with pytest.raises(CorruptProfileError):
                store.get(user_id)
        assert store.history("body")[0].problem
        assert store.history("then")[0].at is None
        assert store.history("many") == []
        versions = [
            store.save(ANN.model_copy(update={"user_id": one[0]})).version for one in damaged
        ]
        assert versions == [3, 3, 1, 1, 6]


@pytest.mark.parametrize("old", [False, True], ids=["empty", "old"])
def test_many_threads_may_start_at_once(url, old):
    from concurrent.futures import ThreadPoolExecutor

    if old:
        make_old(url)

    def start(_):
        with SqlProfileStore(url) as store:
            return store.save(ANN).version

    with ThreadPoolExecutor(8) as threads:
        versions = sorted(threads.map(start, range(8)))
    assert versions == [it + (4 if old else 1) for it in range(8)]
    assert tables_of(url) == OUR_TABLES


@pytest.fixture
def two_urls(url, request, tmp_path):
    if url.startswith("sqlite"):
        return [url, f"sqlite:///{tmp_path / 'other.db'}"]
    server = request.getfixturevalue("postgres_server")
    return [url, server.url(server.new_database())]


def test_many_processes_may_start_at_once(two_urls):
    make_old(two_urls[1])
    versions = open_at_once(two_urls, processes=3, times=3)
    for url, before in zip(two_urls, (0, 3), strict=True):
        assert sorted(versions[url]) == [before + it for it in range(1, 10)]
        with SqlProfileStore(url) as store:
            assert len(store.history("ann")) == 9 + bool(before)


def test_a_newer_database_is_refused(url):
    make(url)
    run(url, "UPDATE amulet_alembic_version SET version_num = '0815'")
    command = re.escape(upgrade_command())
    with pytest.raises(ProfileStoreError, match=rf"newer version.*'0815'.*0001, 0002.*{command}"):
        SqlProfileStore(url)
    assert run(url, "SELECT version_num FROM amulet_alembic_version") == [("0815",)]


def test_a_lost_version_table_is_made_anew(url):
    with SqlProfileStore(url) as store:
        store.save(ANN)
        store.save(ANN)
    run(url, "DROP TABLE amulet_alembic_version")
    with SqlProfileStore(url) as store:
        assert [one.version for one in store.history("ann")] == [1, 2]
        assert store.save(ANN).version == 3


def test_tables_of_the_application_stay_as_they_are(url):
    theirs = [
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)",
        "INSERT INTO alembic_version VALUES ('theirs')",
        "CREATE TABLE users (id INTEGER PRIMARY KEY, profile TEXT)",
        "INSERT INTO users VALUES (1, 'ann')",
    ]
    run(url, *theirs)
    with SqlProfileStore(url, table_prefix="prefs_") as store:
        store.save(ANN)
        store.erase("ann")
    ours = {"prefs_profiles", "prefs_profile_changes", "prefs_alembic_version"}
    assert tables_of(url) == {"alembic_version", "users"} | ours
    assert run(url, "SELECT * FROM alembic_version") == [("theirs",)]
    assert run(url, "SELECT * FROM users") == [(1, "ann")]


def test_a_store_is_opened_in_the_middle_of_a_migration_of_the_application(url, tmp_path):
    from alembic import op
    from alembic.config import Config

    SqlProfileStore("sqlite://").close()
    versions = tmp_path / "theirs" / "versions"
    versions.mkdir(parents=True)
    with EnvironmentContext(Config(), ScriptDirectory(tmp_path / "theirs")) as theirs:
        engine = sa.create_engine("sqlite://")
        with engine.connect() as connection:
            context = MigrationContext.configure(connection)
            with Operations.context(context):
                make(url)
                op.create_table("theirs", sa.Column("id", sa.Integer))
            assert sa.inspect(connection).get_table_names() == ["theirs"]
        engine.dispose()
        assert theirs.script is not None


def test_alembic_is_not_imported_where_there_is_nothing_to_do(tmp_path):
    path = tmp_path / "profiles.db"
    make(path)
    process = context().Process(target=open_without_alembic, args=(path,))
    process.start()
    process.join(60)
    assert process.exitcode == 0


class TestRoles:
    """Roles of PostgreSQL that may not do everything."""

    @pytest.fixture
    def reader(self, postgres_server, postgres_url):
        postgres_server.execute(
            "DROP ROLE IF EXISTS reader", "CREATE ROLE reader LOGIN PASSWORD 'only'"
        )
        database = postgres_url.rpartition("/")[2]

        def allow():
            postgres_server.execute(
                "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader", database=database
            )

        postgres_server.execute("GRANT USAGE ON SCHEMA public TO reader", database=database)
        yield postgres_server.url(database, "reader", "only"), allow
        postgres_server.execute("DROP OWNED BY reader", database=database)

    def test_a_role_that_only_reads_opens_tables_that_are_up_to_date(self, reader, postgres_url):
        url, allow = reader
        with SqlProfileStore(postgres_url) as store:
            stored = store.save(ANN)
        allow()
        with SqlProfileStore(url) as readable:
            assert readable.get("ann") == stored
            assert len(readable.history("ann")) == 1
            assert readable.export_json(history=True)
            with pytest.raises(ProfileStoreError, match="permission denied"):
                readable.save(ANN)

    def test_a_role_that_only_reads_cannot_migrate(self, reader, postgres_url):
        url, allow = reader
        make_old(postgres_url)
        allow()
        with pytest.raises(ProfileStoreError, match=r"make the tables.*permission denied"):
            SqlProfileStore(url)
        with psycopg.connect(postgres_url) as connection:
            assert connection.execute("SELECT count(*) FROM amulet_profiles").fetchone() == (2,)
