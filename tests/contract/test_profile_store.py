"""What every store of profiles promises, checked on all of them alike."""

from __future__ import annotations

import asyncio
import copy
import pickle
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from langgraph.store.memory import InMemoryStore
from langgraph.store.sqlite import SqliteStore
from llama_index.core.storage.kvstore import SimpleKVStore

from amulet_integrations.decoding.guidance import AmuletParams
from amulet_integrations.errors import InvalidProfileError, ProfileConflictError, ProfileStoreError
from amulet_integrations.langchain import LangGraphProfileStore
from amulet_integrations.llama_index import KVProfileStore
from amulet_integrations.profiles import (
    CachedProfileStore,
    InMemoryProfileStore,
    Preference,
    PreferenceProfile,
    ProfileStore,
    SqlProfileStore,
)
from amulet_integrations.profiles.inheritance import LONGEST_LINE
from amulet_integrations.profiles.stores.access import aread_whole_profile, read_whole_profile
from amulet_integrations.profiles.stores.base import UpdatingProfileStore
from amulet_integrations.profiles.stores.transfer import export_profiles, import_profiles
from tests.support.hostile import ALIKE, ALL_STRINGS, HOSTILE

pytestmark = pytest.mark.usefixtures("shared_parents")

ODD_IDS = ["Ann", "ann", "ann ", "älice@例え.jp", "😀", "o'brien; --", "50%_", "a/b", "x" * 256]
ODD_IDS += [".", "..", "a.b", "a%2Eb", "%", "%25", "*", "langgraph", "{user_id}", "users"]


@contextmanager
def langgraph_sqlite(place: Path) -> Iterator[LangGraphProfileStore]:
    with SqliteStore.from_conn_string(str(place)) as within:
        within.setup()
        yield LangGraphProfileStore(within)


KINDS: dict[str, Callable[[Path], Any]] = {
    "in_memory": lambda _: nullcontext(InMemoryProfileStore()),
    "sqlite_file": SqlProfileStore,
    "sqlite_in_memory": lambda _: SqlProfileStore(":memory:"),
    "langgraph": lambda _: nullcontext(LangGraphProfileStore(InMemoryStore())),
    "langgraph_sqlite": langgraph_sqlite,
    "llama_index": lambda _: nullcontext(KVProfileStore(SimpleKVStore())),
    "cached_sqlite": lambda place: CachedProfileStore(SqlProfileStore(place)),
    "cached_in_memory": lambda _: CachedProfileStore(InMemoryProfileStore()),
    "cached_for_no_time": lambda _: CachedProfileStore(InMemoryProfileStore(), ttl=0),
}


@pytest.fixture(params=[*KINDS, "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def store(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    if kind == "postgresql":
        opened = SqlProfileStore(request.getfixturevalue("postgres_url"))
    else:
        opened = KINDS[kind](tmp_path / "profiles.db")
    with opened as store:
        yield store


def full_profile(user_id: str = "ann") -> PreferenceProfile:
    return PreferenceProfile(
        user_id=user_id,
        preferences=[
            Preference(
                text="Answer as a pirate.\nÄ, 日本語, 🙂",
                weight=-1 / 3,
                name="pirate",
                valid_from=datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=9))),
                valid_until=datetime(2027, 1, 1, 0, 0, 0, 7, tzinfo=UTC),
                when={"task": "email", "to": "böb"},
                kind="topic",
            ),
            "Be brief.",
        ],
        params=AmuletParams(alpha=0.1 + 0.2, iterations=7),
        method="linear_alignment",
    )


def contents(profile: PreferenceProfile) -> dict:
    return profile.model_dump(exclude={"version", "updated_at"})


def noting(text: str) -> Callable[[PreferenceProfile], PreferenceProfile]:
    """The change that adds a preference."""

    def note(profile: PreferenceProfile) -> PreferenceProfile:
        new = (*profile.preferences, Preference(text=text))
        return profile.model_copy(update={"preferences": new})

    return note


def texts(profile: PreferenceProfile | None) -> list[str]:
    return [preference.text for preference in profile.preferences] if profile else []


def test_it_is_a_profile_store(store):
    assert isinstance(store, ProfileStore)
    assert isinstance(store, UpdatingProfileStore)


def test_what_is_saved_is_what_is_read(store):
    before = datetime.now(UTC)
    stored = store.save(full_profile())
    after = datetime.now(UTC)

    assert stored.version == 1
    assert before <= stored.updated_at <= after
    assert stored.updated_at.utcoffset() == timedelta(0)
    assert contents(stored) == contents(full_profile())
    assert store.get("ann") == stored
    assert store.get("ann").updated_at.utcoffset() == timedelta(0)


def test_an_unknown_user_has_no_profile(store):
    store.save(full_profile("ann"))
    assert store.get("bob") is None
    assert store.get("bob") is None
    store.save(full_profile("bob"))
    assert store.get("bob") is not None


def test_saving_replaces_and_counts_up(store):
    first = store.save(full_profile())
    second = store.save(PreferenceProfile(user_id="ann", preferences=["Be kind."]))

    assert (first.version, second.version) == (1, 2)
    assert second.updated_at >= first.updated_at
    assert store.get("ann") == second
    assert texts(store.get("ann")) == ["Be kind."]
    assert store.get("ann").method is None


def test_a_profile_that_was_read_is_stored_over_the_version_it_was_read_as(store):
    first = store.save(full_profile())
    second = store.save(noting("Be kind.")(store.get("ann")))
    assert (first.version, second.version) == (1, 2)
    assert store.get("ann") == second


def test_a_stale_version_is_refused_and_version_0_overwrites(store):
    stale = store.save(full_profile())
    kept = store.save(stale)
    for version in (stale.version, kept.version + 1, 41):
        with pytest.raises(ProfileConflictError, match=f"version {version}.*version 2 is stored"):
            store.save(stale.model_copy(update={"version": version}))
        assert store.get("ann") == kept
    assert store.save(stale.model_copy(update={"version": 0})).version == 3


def test_a_version_of_what_is_not_stored_is_refused(store):
    with pytest.raises(ProfileConflictError, match="none is stored"):
        store.save(PreferenceProfile(user_id="ann", version=1))
    assert store.get("ann") is None

    stored = store.save(full_profile())
    store.delete("ann")
    with pytest.raises(ProfileConflictError, match="none is stored"):
        store.save(stored)
    assert store.get("ann") is None


def test_the_given_time_does_not_matter(store):
    old = datetime(1999, 1, 1, tzinfo=UTC)
    stored = store.save(PreferenceProfile(user_id="ann", updated_at=old))
    assert stored.updated_at > old


def test_deleting_returns_whether_there_was_one(store):
    store.save(full_profile("ann"))
    store.save(full_profile("bob"))

    assert store.delete("ann") is True
    assert store.get("ann") is None
    assert store.delete("ann") is False
    assert store.get("bob") is not None


def test_after_a_deletion_a_profile_is_new(store, kind):
    store.save(full_profile())
    stale = store.save(full_profile())
    store.delete("ann")
    again = store.save(full_profile())
    assert store.get("ann") == again
    if kind in ("sqlite_file", "sqlite_in_memory", "cached_sqlite", "postgresql"):
        # A history goes on counting, so nobody takes the new one for one of an earlier life.
        assert again.version > stale.version
    else:
        assert again.version == 1
    with pytest.raises(ProfileConflictError):
        store.save(stale)


def test_a_profile_from_before_a_deletion_does_not_overwrite_the_new_one(store):
    stale = store.save(full_profile())
    store.delete("ann")
    new = store.save(PreferenceProfile(user_id="ann", preferences=["Be kind."]))
    with pytest.raises(ProfileConflictError):
        store.save(stale)
    assert store.get("ann") == new


def test_user_ids_are_listed_sorted(store):
    assert store.user_ids() == []
    for user_id in ("bob", "Zoe", "ann", "émile"):
        store.save(full_profile(user_id))
    store.save(full_profile("bob"))
    store.delete("ann")
    assert store.user_ids() == ["Zoe", "bob", "émile"]


def test_user_ids_are_compared_exactly(store):
    for place, user_id in enumerate(ODD_IDS):
        store.save(PreferenceProfile(user_id=user_id, preferences=[f"I am number {place}."]))

    assert store.user_ids() == sorted(ODD_IDS)
    for place, user_id in enumerate(ODD_IDS):
        profile = store.get(user_id)
        assert (profile.user_id, profile.version) == (user_id, 1)
        assert profile.preferences[0].text == f"I am number {place}."


HOSTILE_IDS = [
    user_id
    for family in (
        "sql",
        "paths",
        "formats",
        "right to left",
        "zero width",
        "combining",
        "null bytes",
    )
    for user_id in HOSTILE[family][:2]
]


def test_hostile_ids_and_texts_come_back_exactly_or_are_refused(store):
    untouched = store.save(full_profile())
    saved = {}
    for place, user_id in enumerate(HOSTILE_IDS):
        texts = [
            sound for it in ALL_STRINGS[place :: len(HOSTILE_IDS)] if (sound := preference(it))
        ]
        try:
            profile = PreferenceProfile(user_id=user_id, preferences=texts)
        except InvalidProfileError:
            with pytest.raises(InvalidProfileError):
                store.get(user_id)
            continue
        saved[user_id] = store.save(profile)
    assert len(saved) >= len(HOSTILE_IDS) - 2  # null bytes are refused
    assert store.user_ids() == sorted(["ann", *saved])
    for user_id, profile in saved.items():
        assert store.get(user_id) == profile
        assert profile.user_id == user_id
        assert all(it.text == it.name.strip() for it in profile.preferences)
    gone = list(saved)[::5]
    for user_id in gone:
        assert store.delete(user_id)
    assert store.user_ids() == sorted({"ann", *saved} - set(gone))
    assert store.get("ann") == untouched


def test_labels_that_look_alike_are_different_users_and_names(store):
    profiles = {
        user_id: PreferenceProfile(
            user_id=user_id,
            preferences=[
                Preference(text=f"I am {place}.", name=name, when={name: user_id})
                for name in (user_id, ALIKE[place - 1])
            ],
        )
        for place, user_id in enumerate(ALIKE)
    }
    # As an import, since a hundred changes of a file take seconds.
    within = InMemoryProfileStore(profiles.values())
    import_profiles(store, export_profiles(within))
    assert store.user_ids() == sorted(ALIKE)
    assert len(set(ALIKE)) == len(ALIKE)
    for user_id, profile in profiles.items():
        assert contents(store.get(user_id)) == contents(profile)
        if isinstance(store, SqlProfileStore):
            (change,) = store.history(user_id)
            assert contents(change.profile) == contents(profile)
    gone = set(ALIKE[::9])
    for user_id in gone:
        assert store.delete(user_id)
    copy = InMemoryProfileStore()
    import_profiles(copy, export_profiles(store))
    assert {it: contents(copy.get(it)) for it in copy.user_ids()} == {
        it: contents(profile) for it, profile in profiles.items() if it not in gone
    }


def preference(text):
    """A preference of this text and name; None where that is refused."""
    try:
        return Preference(text=text, name=text)
    except InvalidProfileError:
        return None


BAD_IDS = ["", "  ", "a\x00b", "a\nb", "\ud800", "x" * 257, None, 5, ["ann"]]


async def test_impossible_user_ids_are_refused(store):
    for user_id in BAD_IDS:
        for call in (store.get, store.delete, partial(store.update, function=noting("Hello."))):
            with pytest.raises(InvalidProfileError, match="user_id"):
                call(user_id)
        for call in (store.aget, store.adelete, partial(store.aupdate, function=noting("Hello."))):
            with pytest.raises(InvalidProfileError, match="user_id"):
                await call(user_id)
    assert store.user_ids() == []


async def test_only_profiles_are_stored(store):
    for thing in ("ann", {"user_id": "ann"}, None):
        with pytest.raises(InvalidProfileError, match="PreferenceProfile"):
            store.save(thing)
        with pytest.raises(InvalidProfileError, match="PreferenceProfile"):
            await store.asave(thing)
    with pytest.raises(InvalidProfileError, match="PreferenceProfile"):
        store.update("ann", lambda _: {"user_id": "ann"})
    assert store.user_ids() == []


@pytest.mark.parametrize(
    "strength",
    [
        {"guidance_scale": 0.1 + 0.2, "max_kl": None},
        {"preset": "strong"},
        {"params": AmuletParams(alpha=0.1 + 0.2), "max_kl": 1 / 3},
        {"max_kl": 0.0},
    ],
    ids=str,
)
def test_a_strength_and_its_bound_are_stored_exactly(store, strength):
    profile = PreferenceProfile(user_id="ann", preferences=["Be brief."], **strength)
    assert contents(store.save(profile)) == contents(profile)
    assert store.get("ann").strength == profile.strength


def test_an_update_changes_what_is_stored(store):
    store.save(full_profile())
    stored = store.update("ann", noting("Be kind."))
    assert stored.version == 2
    assert texts(stored)[-1] == "Be kind."
    assert stored.params == full_profile().params
    assert store.get("ann") == stored


def test_an_update_of_nobody_begins_with_an_empty_profile(store):
    seen = []

    def change(profile):
        seen.append(profile)
        return noting("Be kind.")(profile)

    stored = store.update("ann", change)
    assert seen == [PreferenceProfile(user_id="ann")]
    assert stored.version == 1
    assert store.get("ann") == stored


def test_an_update_that_returns_none_leaves_what_is_there(store):
    assert store.update("bob", lambda _: None) == PreferenceProfile(user_id="bob")
    assert store.get("bob") is None
    stored = store.save(full_profile())
    assert store.update("ann", lambda _: None) == stored
    assert store.get("ann") == stored
    assert store.user_ids() == ["ann"]


def test_an_update_that_fails_stores_nothing(store):
    stored = store.save(full_profile())

    def fail(_):
        raise LookupError("mine")

    for user_id in ("ann", "bob"):
        with pytest.raises(LookupError, match="mine"):
            store.update(user_id, fail)
        with pytest.raises(LookupError, match="mine"):
            asyncio.run(store.aupdate(user_id, fail))
    assert store.get("ann") == stored
    assert store.user_ids() == ["ann"]
    assert store.update("ann", noting("Be kind.")).version == 2


def test_an_update_changes_no_other_user(store):
    stored = store.save(full_profile("ann"))
    with pytest.raises(InvalidProfileError, match="'bob' returned a profile of 'ann'"):
        store.update("bob", lambda _: stored)
    assert store.get("ann") == stored
    assert store.get("bob") is None


def test_a_parent_need_not_be_there_and_is_read_with_the_profile(store):
    store.save(PreferenceProfile(user_id="ann", preferences=["Be brief."], parent="team"))
    assert store.get("ann").parent == "team"
    assert texts(read_whole_profile(store, "ann")) == ["Be brief."]
    store.save(PreferenceProfile(user_id="team", preferences=["Be kind."]))
    assert texts(read_whole_profile(store, "ann")) == ["Be kind.", "Be brief."]
    assert texts(store.get("ann")) == ["Be brief."]
    whole = asyncio.run(aread_whole_profile(store, "ann"))
    assert texts(whole) == ["Be kind.", "Be brief."]
    assert whole.version == 1


def test_parents_may_not_form_a_circle(store):
    store.save(PreferenceProfile(user_id="ann", parent="team"))
    store.save(PreferenceProfile(user_id="team", parent="all"))
    with pytest.raises(InvalidProfileError, match="circle"):
        store.save(PreferenceProfile(user_id="all", parent="ann"))
    with pytest.raises(InvalidProfileError, match="circle"):
        store.update("all", lambda it: it.model_copy(update={"parent": "ann"}))
    with pytest.raises(InvalidProfileError, match="circle"):
        asyncio.run(store.asave(PreferenceProfile(user_id="all", parent="ann")))
    assert store.user_ids() == ["ann", "team"]


def test_a_line_of_parents_has_an_end(store):
    store.save(PreferenceProfile(user_id="0"))
    for number in range(1, LONGEST_LINE):
        store.save(PreferenceProfile(user_id=str(number), parent=str(number - 1)))
    with pytest.raises(InvalidProfileError, match="more than"):
        store.save(PreferenceProfile(user_id="x", parent=str(LONGEST_LINE - 1)))


def test_a_line_made_too_long_further_up_keeps_nobody_from_changing_a_preference(store):
    last = str(LONGEST_LINE)
    for number in range(LONGEST_LINE):
        store.save(PreferenceProfile(user_id=str(number), parent=str(number + 1)))
    store.save(PreferenceProfile(user_id=last, parent="everyone"))
    store.save(PreferenceProfile(user_id="everyone"))
    assert texts(store.update("0", noting("Be brief."))) == ["Be brief."]
    assert texts(store.save(noting("Be kind.")(store.get("0")))) == ["Be brief.", "Be kind."]
    with pytest.raises(InvalidProfileError, match="more than"):
        read_whole_profile(store, "0")


async def test_the_async_forms_do_the_same(store):
    stored = await store.asave(full_profile())
    assert stored.version == 1
    assert await store.aget("ann") == stored == store.get("ann")
    assert await store.aget("bob") is None
    assert (await store.asave(stored)).version == 2
    with pytest.raises(ProfileConflictError):
        await store.asave(stored)
    changed = await store.aupdate("ann", noting("Be kind."))
    assert changed.version == 3
    assert await store.aget("ann") == changed == store.get("ann")
    assert await store.aupdate("ann", lambda _: None) == changed
    with pytest.raises(InvalidProfileError, match="'ann' returned a profile of 'bob'"):
        await store.aupdate("ann", lambda _: full_profile("bob"))
    assert await store.auser_ids() == ["ann"]
    assert await store.adelete("ann") is True
    assert await store.adelete("ann") is False
    assert await store.aget("ann") is None


def held(kind: str, store: Any, place: Path) -> Callable[[], None]:
    """Has everybody wait for the store, and returns what ends that."""
    store = getattr(store, "store", store)
    if kind in ("sqlite_file", "cached_sqlite"):
        other = sqlite3.connect(place, check_same_thread=False, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        return other.close
    lock = store._lock if isinstance(store, InMemoryProfileStore) else store._store.lock
    lock.__enter__()
    return partial(lock.__exit__, None, None, None)


@pytest.mark.parametrize(
    "kind",
    ["in_memory", "cached_in_memory", "sqlite_file", "cached_sqlite", "langgraph_sqlite"],
    indirect=True,
)
async def test_the_event_loop_goes_on_while_a_store_waits(store, kind, tmp_path):
    release = held(kind, store, tmp_path / "profiles.db")
    # On a thread: an event loop that is blocked could not do it.
    timer = threading.Timer(1.0, release)
    timer.start()
    try:
        waiting = asyncio.create_task(store.aupdate("ann", noting("Be kind.")))
        for _ in range(20):
            await asyncio.sleep(0.002)
        assert not waiting.done()
        assert timer.is_alive()
    finally:
        if timer.is_alive():
            timer.cancel()
            release()
    assert (await waiting).version == 1


@pytest.fixture
def eager_threads():
    """Threads that take turns far more often than usual, and so meet in the worst places."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("eager_threads")
def test_no_version_is_lost_between_threads(store):
    def save_many(_):
        return [store.save(full_profile()).version for _ in range(5)]

    with ThreadPoolExecutor(8) as threads:
        versions = [version for some in threads.map(save_many, range(8)) for version in some]

    assert sorted(versions) == list(range(1, 41))
    assert store.get("ann").version == 40


@pytest.mark.usefixtures("eager_threads")
def test_no_update_is_lost_between_threads(store):
    names = [f"I am {number}." for number in range(24)]

    def note(some):
        for name in some:
            store.update("ann", noting(name))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(note, [names[place::8] for place in range(8)]))

    assert sorted(texts(store.get("ann"))) == sorted(names)
    assert store.get("ann").version == 24


async def test_no_update_is_lost_between_tasks_and_threads(store):
    names = [f"I am {number}." for number in range(16)]
    await asyncio.gather(
        *(store.aupdate("ann", noting(name)) for name in names[::2]),
        *(asyncio.to_thread(store.update, "ann", noting(name)) for name in names[1::2]),
    )
    assert sorted(texts(await store.aget("ann"))) == sorted(names)


@pytest.mark.usefixtures("eager_threads")
def test_of_many_that_store_over_one_version_one_succeeds(store):
    read = store.save(full_profile())

    def save(_):
        try:
            return store.save(read).version
        except ProfileConflictError:
            return None

    with ThreadPoolExecutor(8) as threads:
        versions = list(threads.map(save, range(16)))
    assert sorted(version for version in versions if version) == [2]
    assert store.get("ann").version == 2


def test_threads_may_do_different_things_at_once(store):
    def live(name):
        for _ in range(2):
            assert store.save(full_profile(name)).version > 0
            assert store.get(name).user_id == name
            assert name in store.user_ids()
            assert store.delete(name)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(live, [f"user-{number}" for number in range(8)]))
    assert store.user_ids() == []


def test_a_copy_is_the_store_and_a_pickle_opens_its_database(kind: str, store: Any) -> None:
    store.save(full_profile())
    assert copy.copy(store) is copy.deepcopy(store) is store
    if kind not in {"sqlite_file", "cached_sqlite", "postgresql"}:
        with pytest.raises(ProfileStoreError, match="cannot be pickled"):
            pickle.dumps(store)
        return
    with pickle.loads(pickle.dumps(store)) as opened:  # noqa: S301 - made here
        assert opened.get("ann") == store.get("ann")
        assert repr(opened) == repr(store)
