"""The cache before a store: what it remembers, and what it must not."""

from __future__ import annotations

import asyncio
import math
import threading
import time
import timeit
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from amulet_integrations import InMemoryProfileStore, PreferenceProfile
from amulet_integrations.errors import (
    InvalidParamsError,
    InvalidProfileError,
    ProfileConflictError,
    ProfileStoreError,
)
from amulet_integrations.profiles import CachedProfileStore
from amulet_integrations.profiles.stores import cached
from amulet_integrations.profiles.stores.invalidation import publish_change

ANN = PreferenceProfile(user_id="ann", preferences=["Be brief."])


class Counting(InMemoryProfileStore):
    """Records the users whose profiles are read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[str] = []

    def get(self, user_id: str) -> PreferenceProfile | None:
        self.reads.append(user_id)
        return super().get(user_id)


class Slow(Counting):
    """Waits after each read, if `waits` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = False
        self.reading, self.go_on = threading.Event(), threading.Event()

    def get(self, user_id: str) -> PreferenceProfile | None:
        found = super().get(user_id)
        if self.waits:
            self.reading.set()
            assert self.go_on.wait(10)
        return found


@pytest.fixture
def within() -> Counting:
    return Counting()


@pytest.fixture
def store(within: Counting) -> CachedProfileStore:
    return CachedProfileStore(within)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The seconds that the cache sees."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(cached, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def insist(profile: PreferenceProfile) -> PreferenceProfile:
    return profile.model_copy(update={"preferences": (*profile.preferences, *ANN.preferences)})


def test_a_profile_that_was_read_is_remembered(within: Counting, store: CachedProfileStore) -> None:
    stored = within.save(ANN)
    assert [store.get("ann") for _ in range(3)] == [stored] * 3
    assert [store.get("bob") for _ in range(3)] == [None] * 3
    assert within.reads == ["ann", "bob"]


async def test_remembered_profiles_need_no_thread_on_event_loops(
    within: Counting, store: CachedProfileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = within.save(ANN)
    assert await store.aget("ann") == stored
    assert await store.aget("bob") is None
    monkeypatch.setattr(asyncio, "to_thread", None)
    assert await store.aget("ann") == stored == store.get("ann")
    assert await store.aget("bob") is None
    assert within.reads == ["ann", "bob"]


async def test_the_own_async_methods_of_a_store_are_used() -> None:
    class Native(Counting):
        loops: set[Any] = set()  # noqa: RUF012 - of this test alone

        async def aget(self, user_id: str) -> PreferenceProfile | None:
            self.loops.add(asyncio.get_running_loop())
            return self.get(user_id)

    within = Native()
    store = CachedProfileStore(within)
    assert await store.aget("ann") is None
    assert within.loops == {asyncio.get_running_loop()}


def test_it_is_remembered_for_a_time(
    within: Counting, store: CachedProfileStore, clock: SimpleNamespace
) -> None:
    store.get("ann")
    clock.now += 9.99
    store.get("ann")
    assert within.reads == ["ann"]
    clock.now += 0.01
    store.get("ann")
    assert within.reads == ["ann", "ann"]


def test_the_time_is_counted_from_the_beginning_of_the_read(clock: SimpleNamespace) -> None:
    class Late(Counting):
        def get(self, user_id: str) -> PreferenceProfile | None:
            clock.now += 7
            return super().get(user_id)

    store = CachedProfileStore(within := Late(), ttl=10)
    store.get("ann")
    clock.now += 2.9
    store.get("ann")
    assert within.reads == ["ann"]
    clock.now += 0.1
    store.get("ann")
    assert within.reads == ["ann", "ann"]


@pytest.mark.parametrize("ttl", [0, 0.0])
def test_a_ttl_of_zero_reads_the_store_every_time(within: Counting, ttl: float) -> None:
    store = CachedProfileStore(within, ttl=ttl)
    for _ in range(3):
        assert store.get("ann") is None
    assert within.reads == ["ann"] * 3
    assert not store._entries


def test_the_least_recently_used_are_forgotten_first(within: Counting) -> None:
    store = CachedProfileStore(within, max_size=2)
    for user_id in ("ann", "bob", "ann", "eve", "ann"):
        store.get(user_id)
    assert within.reads == ["ann", "bob", "eve"]
    store.get("bob")
    assert within.reads == ["ann", "bob", "eve", "bob"]


WRITES: dict[str, Callable[[Any], Any]] = {
    "save": lambda store: store.save(ANN),
    "delete": lambda store: store.delete("ann"),
    "update": lambda store: store.update("ann", insist),
    "asave": lambda store: asyncio.run(store.asave(ANN)),
    "adelete": lambda store: asyncio.run(store.adelete("ann")),
    "aupdate": lambda store: asyncio.run(store.aupdate("ann", insist)),
}


class Native:
    """A store with async methods of its own."""

    def __init__(self) -> None:
        self.within = Counting()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.within, name)

    save = property(lambda self: self.within.save)
    get = property(lambda self: self.within.get)
    delete = property(lambda self: self.within.delete)
    user_ids = property(lambda self: self.within.user_ids)
    update = property(lambda self: self.within.update)

    async def asave(self, profile: PreferenceProfile) -> PreferenceProfile:
        return self.within.save(profile)

    async def adelete(self, user_id: str) -> bool:
        return self.within.delete(user_id)

    async def aupdate(self, user_id: str, function: Any) -> PreferenceProfile:
        return self.within.update(user_id, function)


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("make", [Counting, Native])
def test_changes_through_the_cache_are_seen_at_once(make: Any, write: str) -> None:
    within = make()
    store = CachedProfileStore(within)
    within.save(ANN)
    other, before = store.get("bob"), store.get("ann")
    WRITES[write](store)
    assert store.get("ann") == within.get("ann") != before
    reads = len(within.reads)
    assert store.get("bob") is other
    assert len(within.reads) == reads


async def test_a_profile_is_read_again_after_a_conflict(
    within: Counting, store: CachedProfileStore
) -> None:
    read = store.get("ann") or store.save(ANN)
    read = store.get("ann") or read
    newer = within.save(read)
    with pytest.raises(ProfileConflictError):
        store.save(read)
    assert store.get("ann") == newer
    newest = within.save(newer)
    with pytest.raises(ProfileConflictError):
        await store.asave(newer)
    assert await store.aget("ann") == newest


@pytest.mark.parametrize("write", WRITES)
def test_a_read_under_way_does_not_bring_back_what_a_write_replaced(write: str) -> None:
    within = Slow()
    within.save(ANN)
    store = CachedProfileStore(within)
    within.waits = True
    with ThreadPoolExecutor(2) as threads:
        reads = [threads.submit(store.get, "ann")]
        assert within.reading.wait(10)
        within.waits = False
        # Another one joins, is done first, and must not make the older one look fresh.
        store.get("ann")
        WRITES[write](store)
        within.go_on.set()
        old = reads[0].result(10)
    assert store.get("ann") == InMemoryProfileStore.get(within, "ann") != old


async def test_a_read_under_way_on_an_event_loop_does_not_either(within: Counting) -> None:
    going, reading = asyncio.Event(), asyncio.Event()

    class Waiting(Counting):
        async def aget(self, user_id: str) -> PreferenceProfile | None:
            found = self.get(user_id)
            reading.set()
            await going.wait()
            return found

    store = CachedProfileStore(within := Waiting())
    within.save(ANN)
    old = asyncio.create_task(store.aget("ann"))
    await reading.wait()
    stored = await store.aupdate("ann", insist)
    going.set()
    assert (await old) != stored
    assert await store.aget("ann") == stored == store.get("ann")


def test_a_read_of_one_user_is_kept_while_another_is_written() -> None:
    within = Slow()
    store = CachedProfileStore(within)
    within.waits = True
    with ThreadPoolExecutor(1) as threads:
        read = threads.submit(store.get, "ann")
        assert within.reading.wait(10)
        store.save(PreferenceProfile(user_id="bob"))
        within.go_on.set()
        read.result(10)
    store.get("ann")
    assert within.reads == ["ann"]


async def test_a_write_that_goes_on_after_its_task_was_cancelled_is_seen() -> None:
    begun, go_on = threading.Event(), threading.Event()

    class SlowToSave(InMemoryProfileStore):
        def save(self, profile: PreferenceProfile) -> PreferenceProfile:
            begun.set()
            assert go_on.wait(10)
            return super().save(profile)

    store = CachedProfileStore(SlowToSave())
    writing = asyncio.create_task(store.asave(ANN))
    await asyncio.to_thread(begun.wait, 10)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert store.get("ann") is None
    go_on.set()
    for _ in range(500):
        if store.get("ann"):
            break
        await asyncio.sleep(0.01)
    assert store.get("ann") is not None


def test_errors_are_not_remembered() -> None:
    class Broken(Counting):
        def get(self, user_id: str) -> PreferenceProfile | None:
            super().get(user_id)
            raise ConnectionError("no connection")

    store = CachedProfileStore(within := Broken())
    for _ in range(2):
        with pytest.raises(ProfileStoreError, match=r"Broken\.get failed"):
            store.get("ann")
        with pytest.raises(ProfileStoreError, match=r"Broken\.get failed"):
            asyncio.run(store.aget("ann"))
    assert within.reads == ["ann"] * 4
    for user_id in ("", ["ann"], None):
        with pytest.raises(InvalidProfileError, match="user_id"):
            store.get(user_id)  # type: ignore[arg-type]
    assert len(within.reads) == 4


class Publishing(Counting):
    """A store at a place, as those of a database are."""

    def __init__(self, place: str) -> None:
        super().__init__()
        self.place = place


def test_changes_of_other_objects_at_the_same_place_are_seen() -> None:
    within, elsewhere = Publishing("test:here"), Publishing("test:there")
    here, there = CachedProfileStore(within), CachedProfileStore(elsewhere)
    for user_id in ("ann", "bob"):
        here.get(user_id)
        there.get(user_id)
    stored = within.save(ANN)
    publish_change("test:here", "ann")
    assert here.get("ann") == stored
    here.get("bob")
    there.get("ann")
    assert within.reads == ["ann", "bob", "ann"]
    assert elsewhere.reads == ["ann", "bob"]


def test_profiles_can_be_forgotten_after_unpublished_changes(
    within: Counting, store: CachedProfileStore
) -> None:
    for forget in (lambda: store.forget("ann"), store.forget):
        for user_id in ("ann", "bob"):
            store.get(user_id)
        forget()
    for user_id in ("ann", "bob"):
        store.get(user_id)
    assert within.reads == ["ann", "bob", "ann", "ann", "bob"]


def test_closing_closes_the_store_and_forgets() -> None:
    class Closable(Counting):
        closed = False

        def close(self) -> None:
            self.closed = True

    with CachedProfileStore(Closable()) as store:
        store.get("ann")
        within = store.store
        assert isinstance(within, Closable)
        assert not within.closed
    assert within.closed
    store.get("ann")
    assert within.reads == ["ann", "ann"]
    CachedProfileStore(Counting()).close()


def test_the_repr_shows_the_store_and_no_texts(store: CachedProfileStore) -> None:
    store.save(ANN)
    store.get("ann")
    assert repr(store) == (
        "CachedProfileStore(InMemoryProfileStore(<1 profiles>), ttl=10, max_size=10,000)"
    )


@pytest.mark.parametrize("ttl", [-1, -0.1, math.nan, "10", None, True])
def test_a_ttl_that_is_no_time_is_refused(within: Counting, ttl: Any) -> None:
    with pytest.raises(InvalidParamsError, match="ttl="):
        CachedProfileStore(within, ttl=ttl)


@pytest.mark.parametrize("max_size", [0, -1, 1.5, "10", None, True])
def test_a_size_that_is_no_number_of_users_is_refused(within: Counting, max_size: Any) -> None:
    with pytest.raises(InvalidParamsError, match="max_size="):
        CachedProfileStore(within, max_size=max_size)


def test_nobody_reads_what_is_older_than_their_own_write() -> None:
    store = CachedProfileStore(InMemoryProfileStore(), max_size=2)
    end = time.monotonic() + 0.5

    def live(number: int) -> None:
        user_id = f"user-{number % 3}"
        while time.monotonic() < end:
            written = store.update(user_id, lambda it: it.model_copy(update={"method": "pref"}))
            for _ in range(20):
                read = store.get(user_id)
                assert read is not None
                assert read.version >= written.version

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(live, range(6)))


def test_a_remembered_profile_is_quick_to_read(store: CachedProfileStore) -> None:
    store.save(ANN)
    seconds = min(timeit.repeat(lambda: store.get("ann"), number=1000, repeat=10)) / 1000
    assert seconds < 20e-6
