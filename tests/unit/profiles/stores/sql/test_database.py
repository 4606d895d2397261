"""URLs of databases, connections, lost connections, waiting, privacy and forks."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from amulet_integrations.errors import (
    AmuletError,
    MissingDependencyError,
    ProfileConflictError,
    ProfileStoreError,
)
from amulet_integrations.installation import install_command
from amulet_integrations.profiles import PreferenceProfile, ProfileLimits, SqlProfileStore
from amulet_integrations.profiles.stores.sql import engines
from amulet_integrations.profiles.stores.sql.database import Database
from amulet_integrations.profiles.stores.sql.database_url import (
    database_url,
    hide_secrets,
    place_of,
    shown_url,
)
from amulet_integrations.profiles.stores.sql.queries import Queries
from amulet_integrations.profiles.stores.sql.schema import Tables
from tests.support.postgres import PASSWORD
from tests.support.sql_writers import (
    context,
    fork_and_close,
    fork_beside_a_writer,
    update_in_forks,
)

PRIVATE = "I am recovering from an illness"
ANN = PreferenceProfile(user_id="ann", preferences=[PRIVATE])


def error_text(error):
    """Everything that a log of an error may show, including causes and contexts."""
    lines = []
    while error is not None:
        lines += traceback.format_exception(error, chain=False)[-1:]
        error = error.__cause__ or error.__context__
    return "".join(lines)


class TestUrls:
    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://ann:x@host/db",
            "postgres://ann:x@host/db",
            "postgresql+psycopg://ann:x@host/db",
        ],
    )
    def test_postgresql_is_reached_by_psycopg(self, url):
        assert database_url(url).drivername == "postgresql+psycopg"
        assert shown_url(database_url(url)) == "postgresql://ann:***@host/db"

    @pytest.mark.parametrize(
        "url", ["mysql://u:hunter2@host/db", "postgresql+asyncpg://u:hunter2@host/db", "oracle://x"]
    )
    def test_other_databases_and_drivers_are_refused(self, url):
        with pytest.raises(ProfileStoreError, match="SQLite or PostgreSQL") as caught:
            database_url(url)
        assert "hunter2" not in error_text(caught.value)

    def test_a_url_that_cannot_be_read_is_not_quoted(self):
        with pytest.raises(ProfileStoreError, match="begins with postgresql://") as caught:
            database_url("postgresql://ann:hunter2@host:port/db")
        assert "hunter2" not in error_text(caught.value)

    @pytest.mark.parametrize(
        "url", ["sqlite:///file:x?mode=memory&cache=shared&uri=true", "sqlite:///x.db?cache=shared"]
    )
    def test_a_cache_that_is_shared_is_refused(self, url):
        with pytest.raises(ProfileStoreError, match=r"cache=shared.*Use a file"):
            database_url(url)

    @pytest.mark.parametrize(
        ("password", "masked"),
        [
            ("hunter2", "for ***, db and x"),
            ("x", "for hunter2, db and ***"),
            ("d", "for hunter2, db and x"),
        ],
    )
    def test_a_short_password_is_masked_where_it_stands_alone(self, password, masked):
        url = database_url(f"postgresql://ann:{password}@host/db")
        assert hide_secrets("for hunter2, db and x", url) == masked

    def test_options_that_may_hold_a_password_are_not_shown(self):
        url = database_url("postgresql://ann@host/db?password=hunter2&sslpassword=hunter3")
        assert "hunter" not in shown_url(url)

    def test_a_missing_driver_is_named_with_the_line_that_installs_it(self, monkeypatch):
        def import_dbapi():
            raise ImportError("No module named 'psycopg'")

        monkeypatch.setattr(PGDialect_psycopg, "import_dbapi", import_dbapi)
        with pytest.raises(MissingDependencyError) as caught:
            SqlProfileStore("postgresql://ann:hunter2@host/db")
        command = install_command("postgres")
        assert str(caught.value) == f"psycopg is not installed. Install it with: {command}"
        assert "hunter2" not in error_text(caught.value)


class TestPlaces:
    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ("postgresql://ann:x@Host/db", "postgres://bob:y@host:5432/db?sslmode=require"),
            ("postgresql://ann@/db?host=h&port=1", "postgresql://ann@h:1/db"),
            ("postgresql://ann@host", "postgresql://host/ann"),
            ("/var/x/../x.db", "sqlite:////var/x.db?timeout=5"),
            ("/var/x.db", "sqlite:///file:/var/x.db?mode=ro&uri=true"),
            ("/var/x y.db", "sqlite:///file:/var/x%20y.db?mode=ro&uri=true"),
        ],
    )
    def test_they_are_equal_for_one_database(self, first, second):
        assert place_of(database_url(first)) == place_of(database_url(second))

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ("postgresql://host/db", "postgresql://host/other"),
            ("postgresql://host/db", "postgresql://other/db"),
            ("postgresql://host/db", "postgresql://host:5433/db"),
            ("/var/x.db", "/var/y.db"),
            (":memory:", ":memory:"),
        ],
    )
    def test_they_differ_for_different_databases(self, first, second):
        assert place_of(database_url(first)) != place_of(database_url(second))

    def test_they_hold_no_password(self):
        url = "postgresql://ann:hunter2@host/db?sslpassword=hunter2&password=hunter2"
        assert "hunter2" not in place_of(database_url(url))

    def test_a_link_is_the_file_that_it_leads_to(self, tmp_path):
        (tmp_path / "link.db").symlink_to(tmp_path / "file.db")
        first, second = (place_of(database_url(tmp_path / f"{it}.db")) for it in ("link", "file"))
        assert first == second


class TestConnecting:
    @pytest.fixture
    def options(self, monkeypatch):
        seen = {}

        def note(url, **options):
            seen.update(options, url=url)
            raise sa.exc.ArgumentError("far enough")

        monkeypatch.setattr(engines, "create_engine", note)
        return seen

    def test_a_dead_server_is_noticed(self, options):
        with pytest.raises(ProfileStoreError, match="far enough"):
            Database("postgresql://host/db")
        assert options["pool_pre_ping"] is True
        assert options["hide_parameters"] is True
        arguments = options["connect_args"]
        assert (arguments["connect_timeout"], arguments["keepalives"]) == (10, 1)

    def test_options_in_the_url_take_precedence(self, options):
        with pytest.raises(ProfileStoreError, match="far enough"):
            Database("postgresql://host/db?connect_timeout=3&keepalives=0")
        assert not {"connect_timeout", "keepalives"} & options["connect_args"].keys()
        assert options["url"].query["connect_timeout"] == "3"

    def test_connections_have_these_options(self, postgres_url):
        with SqlProfileStore(f"{postgres_url}?connect_timeout=7") as store:

            def look(connection):
                parameters = connection.connection.dbapi_connection.info.get_parameters()
                level = connection.exec_driver_sql("SHOW transaction_isolation").scalar()
                return parameters, level

            parameters, level = store._database.write("look", look)
            assert parameters["connect_timeout"] == "7"
            assert parameters["keepalives_idle"] == "30"
            assert parameters["application_name"] == "amulet-integrations"
            assert level == "read committed"

    @pytest.mark.parametrize("mode", ["read", "snapshot", "write"])
    @pytest.mark.parametrize(("given", "expected"), [("", "1min"), ("5s", "5s"), ("2min", "2min")])
    def test_no_statement_hangs_for_ever(self, postgres_url, mode, given, expected):
        options = f"?options=-c%20statement_timeout={given}" if given else ""
        with SqlProfileStore(f"{postgres_url}{options}") as store:
            database = store._database

            def look(connection):
                return connection.exec_driver_sql("SHOW statement_timeout").scalar()

            run = database.write if mode == "write" else partial(database.read, mode=mode)
            assert run("look", look) == expected

    def test_a_statement_that_hangs_is_given_up(self, postgres_url):
        """Another session has locked the table: the reader would wait for its end."""
        profile = PreferenceProfile(user_id="ann", preferences=["Be kind."])
        with SqlProfileStore(postgres_url) as other:
            other.save(profile)
            brief = f"{postgres_url}?options=-c%20statement_timeout=100ms"
            with SqlProfileStore(brief) as store:

                def lock(connection):
                    connection.exec_driver_sql("LOCK TABLE amulet_profiles")
                    with pytest.raises(ProfileStoreError, match="give statements more"):
                        store.get("ann")

                other._database.write("lock", lock)
                assert store.get("ann").preferences == profile.preferences

    @pytest.mark.parametrize(
        "change",
        [
            lambda url: url.replace(":" + url.split(":")[2].split("@")[0], ":hunter2"),
            lambda url: url.replace("amulet:", "nobody:"),
            lambda url: url.rpartition("/")[0] + "/nowhere",
            lambda url: url.rpartition(":")[0] + ":1/db",
            lambda url: url + "?sslmode=require&sslpassword=hunter2",
            lambda url: url + "?nonsense=hunter2",
        ],
    )
    def test_an_unreachable_database_is_an_error_without_passwords(self, postgres_url, change):
        with pytest.raises(ProfileStoreError, match="Check the URL") as caught:
            SqlProfileStore(change(postgres_url))
        text = error_text(caught.value)
        assert "postgresql://" in text
        assert PASSWORD not in text
        assert postgres_url.split(":")[2].split("@")[0] not in text

    def test_repr_and_place_hold_no_password(self, postgres_url):
        with SqlProfileStore(postgres_url) as store:
            for text in (repr(store), store.place):
                assert PASSWORD not in text
                assert "pa%3A" not in text


class TestLosing:
    """The server goes away between calls, and in the middle of them."""

    @pytest.fixture
    def store(self, postgres_url):
        with SqlProfileStore(postgres_url) as store:
            yield store

    def test_connections_that_were_ended_are_not_noticed(self, store, postgres_server):
        store.save(ANN)
        assert postgres_server.hang_up(postgres_server.reusable) >= 1
        assert store.get("ann").version == 1
        postgres_server.hang_up(postgres_server.reusable)
        assert store.save(ANN).version == 2

    def test_a_server_that_is_down_is_an_error_until_it_is_up(self, store, postgres_server):
        store.save(ANN)
        postgres_server.stop()
        calls = [lambda: store.get("ann"), lambda: store.save(ANN), store.user_ids]
        for call in calls:
            with pytest.raises(
                ProfileStoreError, match=r"refused.*server can be reached"
            ) as caught:
                call()
            text = error_text(caught.value)
            assert not any(it in text for it in (PASSWORD, PRIVATE, "may or may not"))
        postgres_server.start()
        assert store.get("ann").version == 1
        assert store.save(ANN).version == 2

    def test_a_connection_lost_in_a_transaction_stores_nothing(self, store, postgres_server):
        def work(connection):
            connection.exec_driver_sql("DELETE FROM amulet_profiles")
            postgres_server.hang_up(postgres_server.reusable)
            connection.exec_driver_sql("SELECT 1")

        store.save(ANN)
        with pytest.raises(ProfileStoreError) as caught:
            store._database.write("delete a profile", work)
        assert "may or may not" not in str(caught.value)
        assert store.get("ann").version == 1
        assert len(store.history("ann")) == 1

    def test_a_connection_lost_during_the_commit_may_or_may_not_have_stored(
        self, store, postgres_server, monkeypatch
    ):
        real = PGDialect_psycopg.do_commit

        def cut_off(dialect, connection):
            postgres_server.hang_up(postgres_server.reusable)
            real(dialect, connection)

        published = []
        monkeypatch.setattr(
            "amulet_integrations.profiles.stores.sql.sql_store.publish_change",
            lambda place, user_id: published.append(user_id),
        )
        monkeypatch.setattr(PGDialect_psycopg, "do_commit", cut_off)
        with pytest.raises(ProfileStoreError, match="may or may not be stored") as caught:
            store.save(ANN)
        assert PRIVATE not in error_text(caught.value)
        assert published == ["ann"]
        monkeypatch.undo()
        assert store.save(ANN).version == 1


class TestWaiting:
    def test_a_lock_is_not_waited_for_without_end(self, postgres_url, monkeypatch):
        monkeypatch.setattr(
            "amulet_integrations.profiles.stores.sql.advisory_locks.SECONDS_TO_WAIT", 0.1
        )
        with SqlProfileStore(postgres_url) as store, psycopg.connect(postgres_url) as other:
            store.save(ANN)
            other.execute("SELECT * FROM amulet_profiles FOR UPDATE")
            assert store.get("ann").version == 1
            with pytest.raises(ProfileStoreError, match="lock timeout"):
                store.save(ANN)
            other.rollback()
            assert store.save(ANN).version == 2

    def test_writers_leave_connections_for_readers(self, postgres_url, monkeypatch):
        with SqlProfileStore(postgres_url) as store, ThreadPoolExecutor(20) as threads:
            database = store._database
            store.save(ANN)
            go_on, inside = threading.Event(), threading.Semaphore(0)

            def work(connection):
                inside.release()
                assert go_on.wait(20)

            writers = [threads.submit(database.write, "wait", work) for _ in range(20)]
            assert all(inside.acquire(timeout=20) for _ in range(10))
            assert not inside.acquire(timeout=0.05)
            assert store.get("ann").version == 1
            monkeypatch.setattr(
                "amulet_integrations.profiles.stores.sql.database.SECONDS_TO_WAIT", 0.05
            )
            with pytest.raises(ProfileStoreError, match=r"save a profile.*10 threads"):
                store.save(ANN)
            go_on.set()
            for writer in writers:
                writer.result()
            assert store.save(ANN).version == 2

    def test_rows_that_an_earlier_version_has_locked_are_waited_for(self, postgres_url):
        with SqlProfileStore(postgres_url) as store, psycopg.connect(postgres_url) as other:
            first = store.save(ANN)
            other.execute("SELECT version FROM amulet_profiles WHERE user_id = 'ann' FOR UPDATE")
            with ThreadPoolExecutor(1) as threads:
                late = threads.submit(store.save, first)
                waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
                while not other.execute(waiting).fetchone()[0] and not late.done():
                    time.sleep(0.01)
                other.execute("UPDATE amulet_profiles SET version = 2 WHERE user_id = 'ann'")
                other.commit()
                with pytest.raises(ProfileConflictError, match="version 2"):
                    late.result(20)

    def test_users_do_not_wait_for_each_other(self, postgres_url):
        with SqlProfileStore(postgres_url) as store:
            inside, done = threading.Event(), threading.Event()

            def work(connection):
                Queries(connection, Tables("amulet_"), "x", None, ProfileLimits()).save(ANN, "save")
                inside.set()
                assert done.wait(20)

            thread = threading.Thread(target=Database(postgres_url).write, args=("save", work))
            thread.start()
            assert inside.wait(20)
            assert store.save(PreferenceProfile(user_id="bob")).version == 1
            done.set()
            thread.join()
            assert store.get("ann").version == 1


class TestPrivacy:
    @pytest.fixture(params=["sqlite", "postgresql"])
    def url(self, request, tmp_path):
        if request.param == "postgresql":
            return request.getfixturevalue("postgres_url")
        return f"sqlite:///{tmp_path / 'profiles.db'}"

    def test_logs_hold_neither_texts_nor_passwords(self, url, caplog):
        for name in (
            "",
            "sqlalchemy",
            "sqlalchemy.engine",
            "sqlalchemy.pool",
            "psycopg",
            "alembic",
        ):
            caplog.set_level(logging.DEBUG, logger=name or None)
        with SqlProfileStore(url) as store:
            store.save(ANN)
            store.update("ann", lambda it: it.model_copy(update={"method": "pref"}))
            store.get("ann")
            store.history("ann")
            store.import_json(store.export_json(history=True))
            store.erase("ann")
        assert "alembic" in caplog.text
        assert PRIVATE not in caplog.text
        assert PASSWORD not in caplog.text

    def test_errors_of_the_database_quote_no_row(self, url):
        with SqlProfileStore(url) as store:
            store.save(ANN)
            engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
            with engine.begin() as connection:
                connection.exec_driver_sql("ALTER TABLE amulet_profiles RENAME TO elsewhere")
                connection.exec_driver_sql(
                    "CREATE TABLE amulet_profiles (user_id TEXT PRIMARY KEY, version INT, "
                    "updated_at TEXT, body TEXT, more INT NOT NULL)"
                )
            with pytest.raises(ProfileStoreError, match=r"save a profile in .*more") as caught:
                store.save(ANN)
            assert PRIVATE not in error_text(caught.value)
            assert caught.value.__cause__ is caught.value.__context__ is None
            with engine.begin() as connection:
                connection.exec_driver_sql("DROP TABLE amulet_profiles")
            with pytest.raises(ProfileStoreError) as caught:
                store.save(ANN)
            assert isinstance(caught.value, AmuletError)
            assert PRIVATE not in error_text(caught.value)
            engine.dispose()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_store_goes_on_in_forked_processes(kind, tmp_path, request):
    postgres = kind == "postgresql"
    url = request.getfixturevalue("postgres_url") if postgres else str(tmp_path / "profiles.db")
    process = context().Process(target=update_in_forks, args=(url,))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    with SqlProfileStore(url) as store:
        assert store.get("ann").version == 41


@pytest.mark.parametrize("work", [fork_and_close, fork_beside_a_writer])
def test_a_fork_loses_nothing_of_a_file(work, tmp_path):
    url = f"sqlite:///{tmp_path / 'profiles.db'}?timeout=3"
    process = context().Process(target=work, args=(url,))
    process.start()
    process.join(60)
    assert process.exitcode == 0


class TestEncodings:
    @pytest.fixture
    def latin_url(self, postgres_server):
        name = "test_latin"
        postgres_server.execute(
            f"DROP DATABASE IF EXISTS {name}",
            f"CREATE DATABASE {name} OWNER amulet TEMPLATE template0 ENCODING 'LATIN1'",
        )
        return postgres_server.url(name)

    def test_what_a_database_cannot_hold_is_an_error_without_the_text(self, latin_url):
        with SqlProfileStore(latin_url) as store:
            store.save(PreferenceProfile(user_id="ann", preferences=["Ä"]))
            assert store.get("ann").preferences[0].text == "Ä"
            secret = PreferenceProfile(user_id="ann", preferences=[f"{PRIVATE} 日本"])
            with pytest.raises(ProfileStoreError, match="LATIN1") as caught:
                store.save(secret)
            assert PRIVATE not in error_text(caught.value)

    def test_an_encoding_in_the_url_is_an_error_without_the_text(self, latin_url):
        with SqlProfileStore(f"{latin_url}?client_encoding=latin1") as store:
            secret = PreferenceProfile(user_id="ann", preferences=[f"{PRIVATE} 日本"])
            with pytest.raises(ProfileStoreError, match="encoding") as caught:
                store.save(secret)
            error = caught.value
            assert error.__cause__ is error.__context__ is None
            assert PRIVATE not in error_text(error)
