from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import platformdirs
import pytest

from amulet_integrations.errors import (
    AmuletError,
    CorruptProfileError,
    InvalidProfileError,
    ProfileConflictError,
    ProfileStoreError,
)
from amulet_integrations.profiles import (
    InMemoryProfileStore,
    PreferenceProfile,
    ProfileStore,
    SqlProfileStore,
    open_profile_store,
)

pytestmark = pytest.mark.usefixtures("shared_parents")

PRIVATE = "I am recovering from an illness"
ANN = PreferenceProfile(user_id="ann", preferences=[PRIVATE])
BOB = PreferenceProfile(user_id="bob", preferences=["Be brief."])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "folder" / "profiles.db"


@pytest.fixture
def store(path):
    with SqlProfileStore(path) as store:
        yield store


def set_column(path, column, value, user_id="ann"):
    with closing(sqlite3.connect(path)) as connection, connection:
        command = f"UPDATE amulet_profiles SET {column} = ? WHERE user_id = ?"  # noqa: S608
        assert connection.execute(command, (value, user_id)).rowcount == 1


def chain_of(error):
    while error is not None:
        yield from traceback.format_exception_only(error)
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("form", [Path, str, lambda path: f"sqlite:///{path}"])
def test_a_path_or_a_url_names_the_same_file(path, form):
    with SqlProfileStore(form(path)) as store:
        store.save(ANN)
    with SqlProfileStore(path) as again:
        assert again.get("ann").preferences == ANN.preferences
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT user_id, version FROM amulet_profiles").fetchall() == [
            ("ann", 1)
        ]
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_plain_file_name_is_taken_from_the_folder_at_the_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with SqlProfileStore("profiles.db") as store:
        monkeypatch.chdir("/")
        store.save(ANN)
    assert (tmp_path / "profiles.db").is_file()


@pytest.mark.parametrize("url", ["sqlite:///profiles.db", "sqlite:///file:profiles.db?uri=true"])
def test_a_relative_path_in_a_url_is_taken_from_the_folder_at_the_time(url, tmp_path, monkeypatch):
    folder = tmp_path / "a folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with SqlProfileStore(url) as store:
        store.save(ANN)
        first = store.place
        monkeypatch.chdir("/")
        # While one connection is in use, another one is opened.
        found = store._database.read("wait", lambda _: store.get("ann"))
        assert found.version == 1
    assert (folder / "profiles.db").is_file()
    with SqlProfileStore(folder / "profiles.db") as again:
        assert again.place == first


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with SqlProfileStore("~/profiles.db") as store:
        store.save(ANN)
    assert (tmp_path / "profiles.db").is_file()


READERS = {
    "get": lambda store: store.get("ann"),
    "user_ids": lambda store: store.user_ids(),
    "history": lambda store: store.history("ann"),
    "export_json": lambda store: json.loads(store.export_json())["profiles"],
    "delete": lambda store: store.delete("ann"),
    "erase": lambda store: store.erase("ann"),
    "update": lambda store: store.update("ann", lambda _: None).preferences,
    "aget": lambda store: asyncio.run(store.aget("ann")),
}


@pytest.mark.parametrize("form", ["{}", "sqlite:///{}", "sqlite:///file:{}?uri=true"])
@pytest.mark.parametrize("name", READERS)
def test_reading_makes_no_database_and_no_folder(tmp_path, name, form):
    url = form.format(tmp_path / "mis" / "typed.db")
    with SqlProfileStore(url) as store:
        assert not READERS[name](store)
        assert not store.exists
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(InvalidProfileError, match="none to restore"):
            store.restore("ann", 1)
    with pytest.raises(ProfileStoreError, match="closed"):
        store.get("ann")
    with pytest.raises(ProfileStoreError, match="closed"):
        store.save(ANN)
    assert list(tmp_path.iterdir()) == []


def test_the_first_write_makes_the_database_and_its_folder_is_told(path, caplog):
    with SqlProfileStore(path) as reader, SqlProfileStore(path) as writer:
        assert reader.get("ann") is None
        assert writer.save(ANN).version == 1
        assert reader.get("ann").preferences == ANN.preferences
        assert reader.exists
    assert str(path.parent) in caplog.text
    caplog.clear()
    with SqlProfileStore(path) as again:
        assert again.user_ids() == ["ann"]
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({"AMULET_PROFILES": "{}/named.db"}, "named.db"),
        ({"AMULET_PROFILES": "sqlite:///{}/named.db", "AMULET_DB": "{}/old.db"}, "named.db"),
        ({"AMULET_PROFILES": "  "}, "amulet-integrations/profiles.db"),
    ],
)
def test_the_environment_names_the_default_place(tmp_path, monkeypatch, variables, place):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(tmp_path))
    with SqlProfileStore() as store, SqlProfileStore("default") as same:
        store.save(ANN)
        assert same.get("ann").version == 1
        with open_profile_store("default") as opened:
            assert opened.get("ann").version == 1
    assert (tmp_path / place).is_file()


def test_the_former_variable_still_names_it_with_a_warning(tmp_path, monkeypatch):
    monkeypatch.setenv("AMULET_DB", str(tmp_path / "old.db"))
    with pytest.warns(FutureWarning, match="AMULET_DB is now called AMULET_PROFILES"):
        SqlProfileStore().close()
    assert list(tmp_path.iterdir()) == []


def test_by_default_the_users_data_folder_is_used(tmp_path, monkeypatch):
    monkeypatch.setattr(platformdirs, "user_data_dir", lambda name: str(tmp_path / name))
    with SqlProfileStore() as store:
        store.save(ANN)
    assert (tmp_path / "amulet-integrations" / "profiles.db").is_file()


@pytest.mark.parametrize(
    "url",
    [
        ":memory:",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file::memory:?uri=true",
        "sqlite:///file:x?vfs=memdb&uri=true",
        "sqlite:///file:x?mode=memory&uri=true",
    ],
)
def test_a_database_in_memory_is_one_for_all_threads_and_no_file(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with SqlProfileStore(url) as store, ThreadPoolExecutor(8) as threads:
        stored = list(threads.map(store.save, [ANN] * 16))
        assert sorted(profile.version for profile in stored) == list(range(1, 17))
        assert store.get("ann").version == 16
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("body", ""),
        ("body", "{"),
        ("body", "null"),
        ("body", "[]"),
        ("body", "5"),
        ("body", "[" * 100_000),
        ("body", '{"preferences": [{"text": ""}]}'),
        ("body", '{"preferences": [{"text": "Hi.", "weight": 9}]}'),
        ("body", '{"params": {"alpha": NaN}}'),
        ("body", '{"nonsense": 1}'),
        ("body", '{"user_id": "bob"}'),
        ("body", b"\xff\xfe"),
        ("version", "many"),
        ("version", -3),
        ("version", 2**63 - 1),
        ("updated_at", "yesterday"),
        ("updated_at", "2026-01-01T00:00:00"),
    ],
)
def test_a_corrupt_row_is_named_and_can_be_replaced_and_deleted(store, path, column, value):
    store.save(ANN)
    bob = store.save(BOB)
    set_column(path, column, value)

    if value != 2**63 - 1:  # An absurd version, but a version.
        with pytest.raises(CorruptProfileError, match=r"user 'ann' is not a profile") as caught:
            store.get("ann")
        assert "delete" in str(caught.value)
        assert isinstance(caught.value, ValueError)
        assert len(str(caught.value)) < 600
    assert store.get("bob") == bob
    assert store.user_ids() == ["ann", "bob"]

    replaced = store.save(ANN)
    assert replaced.version == 2
    assert store.get("ann") == replaced

    set_column(path, column, value)
    assert store.delete("ann") is True
    assert store.get("ann") is None
    assert [change.version for change in store.history("ann")] == [1, 2, 3]


def test_text_that_is_no_utf8_is_a_corrupt_row(store, path):
    store.save(ANN)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE amulet_profiles SET body = CAST(x'7bff' AS TEXT)")
    with pytest.raises(CorruptProfileError, match="user 'ann'"):
        store.get("ann")
    assert store.save(ANN).version == 2


def test_a_corrupt_row_shows_no_text(store, path):
    store.save(ANN)
    set_column(path, "body", f'{{"preferences": [{{"text": "{PRIVATE}", "weight": 9}}]}}')
    with pytest.raises(CorruptProfileError) as caught:
        store.get("ann")
    assert PRIVATE not in "".join(chain_of(caught.value))


def test_a_path_below_a_regular_file_cannot_be_opened(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ProfileStoreError, match=r"file/profiles\.db.*Check that the path"):
        SqlProfileStore(tmp_path / "file" / "profiles.db")


def test_a_folder_cannot_be_opened(tmp_path):
    with pytest.raises(ProfileStoreError, match="unable to open"):
        SqlProfileStore(tmp_path)


def test_a_file_that_is_no_database_cannot_be_opened(tmp_path):
    (tmp_path / "notes.txt").write_text("Dear diary, " * 100)
    with pytest.raises(ProfileStoreError, match=r"notes\.txt: file is not a database"):
        SqlProfileStore(tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "Dear diary, " * 100


def test_a_read_only_database_can_be_read(path):
    with SqlProfileStore(path) as store:
        stored = store.save(ANN)
    with SqlProfileStore(f"sqlite:///file:{path}?mode=ro&uri=true") as readable:
        assert readable.get("ann") == stored
        assert len(readable.history("ann")) == 1
        with pytest.raises(ProfileStoreError, match=r"readonly.*file:.*\?immutable=1&uri=true"):
            readable.save(ANN)
    with SqlProfileStore(f"sqlite:///file:{path}?immutable=1&uri=true") as readable:
        assert readable.get("ann") == stored


def test_a_read_only_database_without_tables_cannot_be_opened(tmp_path):
    sqlite3.connect(tmp_path / "empty.db").close()
    with pytest.raises(ProfileStoreError, match="readonly"):
        SqlProfileStore(f"sqlite:///file:{tmp_path}/empty.db?mode=ro&uri=true")


def test_a_locked_database_is_an_error_after_the_wait(path):
    with SqlProfileStore(path) as store:
        store.save(BOB)
    with SqlProfileStore(f"sqlite:///{path}?timeout=0.05") as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert store.get("ann") is None
            with pytest.raises(ProfileStoreError, match="database is locked"):
                store.save(ANN)
            other.execute("ROLLBACK")
        assert store.save(ANN).version == 1


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense://place/profiles",
        "mysql://ann:hunter2@host/profiles",
        "postgresql+asyncpg://ann:hunter2@host/profiles",
        "postgresql://ann:hunter2@host:port/profiles",
        "postgresql+nodriver://ann:hunter2@host/profiles?password=hunter2",
        "sqlite://ann:hunter2@/profiles.db",
        "://hunter2",
        "sqlite:///x.db?timeout=long",
        "a\x00b",
        "a\ud800b",
        "sqlite:///a\ud800b",
        "postgresql://ann:hunter2@host/\ud800",
        "é" * 200,
        f"sqlite:///{'é' * 200}",
    ],
)
def test_databases_that_cannot_be_opened_are_errors_without_the_password(
    url, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProfileStoreError) as caught:
        SqlProfileStore(url)
    assert "hunter2" not in "".join(chain_of(caught.value))


def test_the_repr_shows_a_file_as_its_path(path):
    with SqlProfileStore(f"sqlite:///{path}?timeout=5") as store:
        assert repr(store) == f"SqlProfileStore({str(path)!r})"
    with SqlProfileStore("sqlite://") as store:
        assert repr(store) == "SqlProfileStore(':memory:')"


def test_a_foreign_table_is_an_error_and_stays_as_it_is(tmp_path):
    path = tmp_path / "profiles.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE amulet_profiles (user_id TEXT, version INT)")
    with pytest.raises(ProfileStoreError, match=r"amulet_profiles.*no column body.*table_prefix"):
        SqlProfileStore(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [
            ("amulet_profiles",)
        ]
    with SqlProfileStore(path, table_prefix="mine_") as store:
        assert store.save(ANN).version == 1


@pytest.mark.parametrize(
    "prefix", ["", "Mine_", "1st_", "_x", "a-b", "a b", 'a"b', "é_", "x" * 31, "sqlite_", None, 5]
)
def test_impossible_prefixes_are_named(prefix, path):
    with pytest.raises(ProfileStoreError, match=r"table_prefix=") as caught:
        SqlProfileStore(path, table_prefix=prefix)
    assert repr(prefix)[:20] in str(caught.value)
    assert not path.exists()


class TestDamagedHistory:
    """What is damaged in the history hides nothing else."""

    @pytest.mark.parametrize(
        ("column", "value", "lost"),
        [
            ("body", "{", "profile"),
            ("body", None, "profile"),
            ("body", '{"preferences": [{"text": "' + PRIVATE + '", "weight": 9}]}', "profile"),
            ("body", b"\xff", "profile"),
            ("changed_at", "yesterday", "at"),
            ("changed_at", "2026-01-01T00:00:00", "at"),
            ("changed_at", 5, "at"),
            ("changed_by", "a\nb", "by"),
            ("action", "dance", "action"),
            ("action", b"save", "action"),
        ],
    )
    def test_an_entry_has_a_problem(self, store, path, column, value, lost):
        sound = [store.save(ANN, by="me"), store.save(BOB), store.save(ANN, by="you")]
        with closing(sqlite3.connect(path)) as connection, connection:
            command = f"UPDATE amulet_profile_changes SET {column} = ? WHERE version = 1"  # noqa: S608
            connection.execute(command + " AND user_id = 'ann'", (value,))
        damaged, last = store.history("ann")
        assert damaged.problem
        assert PRIVATE not in damaged.problem + repr(damaged)
        assert (damaged.version, getattr(damaged, lost)) == (1, None)
        assert (last.problem, last.profile) == (None, sound[2])
        assert store.history("bob")[0].problem is None
        assert '"problem"' in store.export_json(["ann"], history=True)
        if lost == "profile":
            with pytest.raises((CorruptProfileError, InvalidProfileError)) as caught:
                store.restore("ann", 1)
            assert PRIVATE not in "".join(chain_of(caught.value))

    def test_a_version_that_is_no_number_is_0_and_comes_last(self, store, path):
        store.save(ANN)
        store.save(ANN)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE amulet_profile_changes SET version = 'x' WHERE version = 1")
        assert [change.version for change in store.history("ann")] == [2, 0]
        assert store.save(ANN).version == 3


def test_a_parent_that_is_damaged_stops_nobody_from_saving(store, path):
    store.save(ANN)
    store.save(BOB.model_copy(update={"parent": "ann"}))
    set_column(path, "body", "{")
    assert store.save(BOB.model_copy(update={"parent": "ann"})).version == 2


def test_changes_of_processes_that_write_no_history_are_counted(store, path):
    store.save(ANN)
    set_column(path, "version", 7)
    assert store.save(ANN).version == 8
    assert [change.version for change in store.history("ann")] == [1, 8]


def test_what_is_erased_is_in_no_file(path):
    # User, how many preferences, and how long they are. While pages are filled and split like
    # that, SQLite leaves a copy of a row of `f` in a gap between others.
    saved = (
        "e1:5 g3:300 d1:1000 c3:1000 e3:1900 a8:5 f8:300 d3:40 f1:1000 d1:300 b1:300 d3:5 g3:1000 "
        "g3:5 e1:300 f1:5 g8:300 b3:40 a1:1000 e1:1000 a1:1900 f1:1900 e3:5 b1:40"
    )
    with SqlProfileStore(path) as store, SqlProfileStore(path) as second:
        for user_id, count, size in re.findall(r"(\w)(\d):(\d+)", saved):
            words = f"MARK-{user_id}-"
            text = words * (int(size) // (8 if count == "1" else 10) + 1)
            preferences = [text[:1990]] * int(count)
            store.save(PreferenceProfile(user_id=user_id, preferences=preferences))
        for user_id in ("g", "f"):
            assert f"MARK-{user_id}-" in "".join(read_all(path))
            assert store.erase(user_id)
            assert f"MARK-{user_id}-" not in "".join(read_all(path))
        assert second.user_ids() == ["a", "b", "c", "d", "e"]
        assert second.save(PreferenceProfile(user_id="f")).version == 1
        assert len(second.history("e")) == 5
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_erasing_is_an_error_while_others_write(path):
    with SqlProfileStore(f"sqlite:///{path}?timeout=0.05") as store:
        store.save(ANN)
        real = store._database.remove_traces
        with closing(sqlite3.connect(path, isolation_level=None)) as writer:

            def remove_traces():
                writer.execute("BEGIN IMMEDIATE")
                real()

            store._database.remove_traces = remove_traces
            with pytest.raises(ProfileStoreError, match="or writing"):
                store.erase("ann")
            writer.execute("COMMIT")
        store._database.remove_traces = real
        assert store.erase("ann") is False
        assert not any(PRIVATE in content for content in read_all(path))


def test_erasing_is_an_error_while_others_read_the_earlier_state(path):
    url = f"sqlite:///{path}?timeout=0.05"
    with SqlProfileStore(url) as store:
        store.save(ANN)
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM amulet_profiles").fetchall()
            with pytest.raises(ProfileStoreError, match="still reading"):
                store.erase("ann")
            assert store.get("ann") is None
            reader.execute("COMMIT")
        assert store.erase("ann") is False
        assert not any(PRIVATE in content for content in read_all(path))


def read_all(path):
    return [
        file.read_bytes().decode("latin-1")
        for file in path.parent.iterdir()
        if file.name.startswith(path.name)
    ]


def test_open_profile_store_takes_a_url_a_path_or_a_store(path):
    in_memory = InMemoryProfileStore([ANN])
    assert open_profile_store(in_memory) is in_memory
    for place in (path, str(path), f"sqlite:///{path}"):
        with open_profile_store(place) as store:
            assert isinstance(store, SqlProfileStore)
            assert isinstance(store, ProfileStore)


@pytest.mark.parametrize("thing", [None, 5, {"ann": ANN}, InMemoryProfileStore])
def test_open_profile_store_refuses_anything_else(thing):
    with pytest.raises(ProfileStoreError, match="save, get, delete and user_ids") as caught:
        open_profile_store(thing)
    assert isinstance(caught.value, AmuletError)


def test_profiles_given_at_the_beginning_are_saved():
    store = InMemoryProfileStore([ANN, BOB])
    assert store.user_ids() == ["ann", "bob"]
    assert store.get("ann").version == 1
    assert PRIVATE not in repr(store)


@pytest.mark.parametrize(
    "change",
    [
        lambda store, read: store.delete("ann", expected=read),
        lambda store, read: store.erase("ann", expected=read),
        lambda store, read: store.restore("ann", 1, expected=read),
    ],
    ids=["delete", "erase", "restore"],
)
def test_what_was_changed_since_it_was_read_is_not_removed_or_replaced(change):
    with SqlProfileStore(":memory:") as store:
        read = store.save(PreferenceProfile(user_id="ann", preferences=["Old."]))
        newer = store.save(PreferenceProfile(user_id="ann", preferences=["New."]))
        with pytest.raises(ProfileConflictError, match="version 2 is stored by now"):
            change(store, read)
        assert store.get("ann") == newer
        assert len(store.history("ann")) == 2
        change(store, newer)
        assert store.get("ann") != newer
        store.delete("ann")
        with pytest.raises(ProfileConflictError, match="none is stored now"):
            change(store, newer)
