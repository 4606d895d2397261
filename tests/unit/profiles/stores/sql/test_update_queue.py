"""Updates that had a conflict wait for each other, and nothing depends on it."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager

import platformdirs
import pytest
from filelock import FileLock

from amulet_integrations.errors import ProfileConflictError
from amulet_integrations.profiles import PreferenceProfile, SqlProfileStore
from amulet_integrations.profiles.stores import versions
from amulet_integrations.profiles.stores.sql import database as databases
from amulet_integrations.profiles.stores.sql.database import Database

ANN = PreferenceProfile(user_id="ann")


def add(text):
    return lambda before: before.model_copy(update={"preferences": [*before.preferences, text]})


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: str(folder / name))
    return folder


@pytest.fixture(params=["sqlite_file", "postgresql"])
def url(request, tmp_path):
    if request.param == "postgresql":
        return request.getfixturevalue("postgres_url")
    return tmp_path / "profiles.db"


@pytest.fixture
def store(url):
    with SqlProfileStore(url) as store:
        yield store


def disturbed(store, times):
    """A change that is preceded by another one so many times."""
    left = [times]

    def change(before):
        if left[0]:
            left[0] -= 1
            store.save(before.model_copy(update={"version": 0}), by="other")
        return add("mine")(before)

    return change


def test_it_is_entered_after_the_first_conflict_and_left_at_the_end(store, monkeypatch):
    noted = []

    @contextmanager
    def queue(database, user_id):
        noted.append("in")
        yield
        noted.append(f"out after {store.get('ann').version}")

    monkeypatch.setattr(Database, "queue", queue)
    store.update("ann", add("at once"))
    assert noted == []
    assert store.update("ann", disturbed(store, 3)).version == 5
    assert noted == ["in", "out after 5"]


def test_one_is_in_at_a_time(url):
    first, second = Database(url), Database(url)
    inside, most = [], []

    def work(database):
        for _ in range(10):
            with database.queue("ann"):
                inside.append(1)
                most.append(len(inside))
                threading.Event().wait(0.002)
                inside.pop()

    threads = [threading.Thread(target=work, args=(it,)) for it in (first, first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(most) == 30
    assert max(most) == 1
    for database in (first, second):
        database.close()


@contextmanager
def held_elsewhere(url, user_id="ann"):
    """Another thread is in the user's queue for the block."""
    database = Database(url)
    inside, done = threading.Event(), threading.Event()

    def hold():
        with database.queue(user_id):
            inside.set()
            assert done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert inside.wait(30)
    yield
    done.set()
    thread.join(30)
    database.close()


def test_an_update_that_waits_too_long_goes_on(url, monkeypatch):
    monkeypatch.setattr(databases, "SECONDS_IN_QUEUE", 0.1)
    with SqlProfileStore(url) as store:
        with held_elsewhere(url):
            assert store.update("ann", disturbed(store, 1)).version == 2
        assert store.update("ann", disturbed(store, 1)).version == 4


def test_users_do_not_wait_for_each_other(store, url, monkeypatch):
    monkeypatch.setattr(databases, "SECONDS_IN_QUEUE", 30)
    start = time.monotonic()
    with held_elsewhere(url, "bob"):
        assert store.update("ann", disturbed(store, 1)).version == 2
    assert time.monotonic() - start < 15


def test_an_update_within_another_ones_function_does_not_wait_for_it(store):
    start = time.monotonic()

    def change(before):
        if before.version:
            store.update("bob", disturbed_once)
        else:
            store.save(ANN)
        return add("mine")(before)

    def disturbed_once(before):
        if not before.version:
            store.save(PreferenceProfile(user_id="bob"))
        return add("mine")(before)

    assert store.update("ann", change).version == 2
    assert store.get("bob").version == 2
    assert time.monotonic() - start < databases.SECONDS_IN_QUEUE / 2


def test_a_queue_that_cannot_be_made_stops_nobody(url, cache_folder, tmp_path):
    (tmp_path / "profiles.db-queues").write_text("no folder")
    cache_folder.write_text("no folder")
    with SqlProfileStore(url) as store:
        assert store.update("ann", disturbed(store, 2)).version == 3


def test_an_error_inside_leaves_the_queue(store, url):
    def fail(before):
        if before.version:
            raise KeyError
        store.save(ANN)
        return before

    with pytest.raises(KeyError):
        store.update("ann", fail)
    with held_elsewhere(url):
        pass
    assert store.update("ann", disturbed(store, 1)).version == 3


def test_its_file_is_beside_the_database_or_in_the_users_cache(store, url, cache_folder, tmp_path):
    store.update("ann", disturbed(store, 1))
    if url == str(url):
        (folder,) = (cache_folder / "amulet-integrations").iterdir()
    else:
        folder = tmp_path / "profiles.db-queues"
    (file,) = folder.iterdir()
    with FileLock(file, timeout=0):
        pass
    assert file.read_bytes() == b""


def test_a_database_in_memory_needs_no_queue(cache_folder):
    with SqlProfileStore(":memory:") as store:
        assert store.update("ann", disturbed(store, 3)).version == 4
    assert not cache_folder.exists()


def test_an_update_gives_up_after_its_time_and_its_tries(store, monkeypatch):
    monkeypatch.setattr(versions, "PATIENCE", 0.0)
    monkeypatch.setattr(versions, "LEAST_TRIES", 4)
    assert store.update("ann", disturbed(store, 3)).version == 4
    with pytest.raises(ProfileConflictError):
        store.update("ann", disturbed(store, 4))
