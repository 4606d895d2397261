"""Updates that lost a race wait for each other, and nothing depends on it."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager

import pytest
from filelock import FileLock

from amulet_integrations.errors import ProfileConflictError
from amulet_integrations.profiles import PreferenceProfile, SqlProfileStore
from amulet_integrations.profiles.stores import versions
from amulet_integrations.profiles.stores.sql import queue as queues

ANN = PreferenceProfile(user_id="ann")


def add(text):
    return lambda before: before.model_copy(update={"preferences": [*before.preferences, text]})


@pytest.fixture(params=["sqlite_file", "sqlite_in_memory", "postgresql"])
def place(request, tmp_path):
    if request.param == "postgresql":
        return request.getfixturevalue("postgres_url")
    return tmp_path / "profiles.db" if request.param == "sqlite_file" else ":memory:"


@pytest.fixture
def store(place):
    with SqlProfileStore(place) as store:
        yield store


def disturbed(store, times):
    """A change that others come before so many times."""
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
    def turn(user_id):
        noted.append(f"in {user_id}")
        yield
        noted.append(f"out after {store.get('ann').version}")

    monkeypatch.setattr(store._queue, "turn", turn)
    store.update("ann", add("at once"))
    assert noted == []
    assert store.update("ann", disturbed(store, 3)).version == 5
    assert noted == ["in ann", "out after 5"]


def test_one_is_in_at_a_time(store, place):
    other = store if place == ":memory:" else SqlProfileStore(place)
    inside, most = [], []

    def work(one_store):
        for _ in range(10):
            with one_store._queue.turn("ann"):
                inside.append(1)
                most.append(len(inside))
                threading.Event().wait(0.002)
                inside.pop()

    threads = [threading.Thread(target=work, args=(it,)) for it in (store, store, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(most) == 30
    assert max(most) == 1
    other.close()


@contextmanager
def held_elsewhere(store, user_id):
    """Another thread holds a turn for the block."""
    inside, done = threading.Event(), threading.Event()

    def hold():
        with store._queue.turn(user_id):
            inside.set()
            assert done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert inside.wait(30)
    yield
    done.set()
    thread.join(30)


def test_users_do_not_wait_for_each_other_in_one_process(store, place):
    if place != ":memory:" and not isinstance(place, str):
        pytest.skip("an SQLite file has one queue")
    start = time.monotonic()
    with held_elsewhere(store, "ann"), store._queue.turn("bob"):
        assert time.monotonic() - start < queues.PATIENCE / 2


def test_whoever_waits_too_long_goes_on(place, monkeypatch):
    monkeypatch.setattr(queues, "PATIENCE", 0.1)
    if place == ":memory:":
        pytest.skip("nobody else is there")
    with SqlProfileStore(place) as store, SqlProfileStore(place) as other:
        with held_elsewhere(other, "ann"):
            assert store.update("ann", disturbed(store, 1)).version == 2
        assert store.update("ann", disturbed(store, 1)).version == 4


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
    assert time.monotonic() - start < queues.PATIENCE / 2
    with store._queue.turn("ann"):
        assert queues._here.has_turn
    assert not queues._here.has_turn


def test_a_queue_that_cannot_be_made_stops_nobody(tmp_path):
    (tmp_path / "profiles.db-queue").mkdir()
    with SqlProfileStore(tmp_path / "profiles.db") as store:
        assert store.update("ann", disturbed(store, 2)).version == 3


def test_a_connection_that_is_lost_while_it_holds_the_turn_is_not_noticed(
    postgres_server, postgres_url
):
    with SqlProfileStore(postgres_url) as store:

        def change(before):
            if before.version < 2:
                store.save(before.model_copy(update={"version": 0}))
            else:
                assert postgres_server.hang_up(postgres_server.reusable)
            return add("mine")(before)

        assert store.update("ann", change).version == 3
        assert store._database._engine("read").pool.checkedout() == 0
        with store._queue.turn("ann"):
            assert store._database._engine("read").pool.checkedout() == 1


def test_what_fails_inside_leaves_the_queue(store):
    def fail(before):
        if before.version:
            raise KeyError
        store.save(ANN)
        return before

    with pytest.raises(KeyError):
        store.update("ann", fail)
    assert store.update("ann", disturbed(store, 1)).version == 3


def test_it_is_left_to_the_file_of_the_database_alone(tmp_path):
    with SqlProfileStore(tmp_path / "profiles.db") as store:
        store.update("ann", disturbed(store, 1))
        with FileLock(tmp_path / "profiles.db-queue", timeout=0):
            pass
        assert (tmp_path / "profiles.db-queue").read_bytes() == b""


def test_an_update_gives_up_after_its_time_and_its_tries(store, monkeypatch):
    monkeypatch.setattr(versions, "PATIENCE", 0.0)
    monkeypatch.setattr(versions, "LEAST_TRIES", 4)
    assert store.update("ann", disturbed(store, 3)).version == 4
    with pytest.raises(ProfileConflictError):
        store.update("ann", disturbed(store, 4))
