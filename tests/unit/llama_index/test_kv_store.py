"""Profiles in a LlamaIndex store; what every store promises is in the contract's suite."""

from __future__ import annotations

import asyncio
import json
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core import StorageContext
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index.core.storage.kvstore.types import BaseKVStore, MutableMappingKVStore

from amulet_integrations import PreferenceProfile
from amulet_integrations.errors import CorruptProfileError, ProfileStoreError
from amulet_integrations.llama_index import KVProfileStore
from amulet_integrations.profiles import CachedProfileStore

PRIVATE = "I am recovering from an illness"
ANN = PreferenceProfile(user_id="ann@example.com", preferences=[PRIVATE])
KEY = "ann%40example%2Ecom"
PLACE = "amulet_profiles"

labels = st.text(
    st.one_of(st.sampled_from("%.*2EAa6C /\\:"), st.characters(exclude_categories=["Cc", "Cs"])),
    min_size=1,
    max_size=40,
).filter(str.strip)


class Remote(BaseKVStore):
    """A store of another machine: values travel as JSON, and every call takes its time."""

    seconds = 0.0

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], str] = {}

    def put(self, key: str, val: dict[str, Any], collection: str = "data") -> None:
        time.sleep(self.seconds)
        self.rows[collection, key] = json.dumps(val)

    def get(self, key: str, collection: str = "data") -> dict[str, Any] | None:
        time.sleep(self.seconds)
        row = self.rows.get((collection, key))
        return None if row is None else json.loads(row)

    def get_all(self, collection: str = "data") -> dict[str, dict[str, Any]]:
        time.sleep(self.seconds)
        rows = list(self.rows.items())
        return {key: json.loads(row) for (place, key), row in rows if place == collection}

    def delete(self, key: str, collection: str = "data") -> bool:
        time.sleep(self.seconds)
        return self.rows.pop((collection, key), None) is not None

    async def aput(self, key: str, val: dict[str, Any], collection: str = "data") -> None:
        await asyncio.sleep(self.seconds)
        self.rows[collection, key] = json.dumps(val)

    async def aget(self, key: str, collection: str = "data") -> dict[str, Any] | None:
        await asyncio.sleep(self.seconds)
        row = self.rows.get((collection, key))
        return None if row is None else json.loads(row)

    async def aget_all(self, collection: str = "data") -> dict[str, dict[str, Any]]:
        await asyncio.sleep(self.seconds)
        rows = list(self.rows.items())
        return {key: json.loads(row) for (place, key), row in rows if place == collection}

    async def adelete(self, key: str, collection: str = "data") -> bool:
        await asyncio.sleep(self.seconds)
        return self.rows.pop((collection, key), None) is not None


class ForThreadsAlone(Remote):
    """As several of LlamaIndex's integrations are."""

    async def aput(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError

    async def aget(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError

    async def aget_all(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    async def adelete(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError


@pytest.fixture
def within() -> SimpleKVStore:
    return SimpleKVStore()


@pytest.fixture
def store(within: SimpleKVStore) -> KVProfileStore:
    return KVProfileStore(within)


def be_kind(profile: PreferenceProfile) -> PreferenceProfile:
    return PreferenceProfile(user_id=profile.user_id, preferences=["Be kind."])


@given(st.sets(labels, max_size=8))
def test_any_users_have_different_keys_that_every_store_accepts(users: set[str]) -> None:
    store = KVProfileStore(within := SimpleKVStore())
    for user_id in users:
        assert store.save(PreferenceProfile(user_id=user_id)).version == 1
    assert store.user_ids() == sorted(users)
    keys = within.get_all(PLACE)
    # Also where case is ignored, and as names of files.
    assert len({key.lower() for key in keys}) == len(users)
    assert all(set(key) <= set("abcdefghijklmnopqrstuvwxyz0123456789-%ABCDEF") for key in keys)


@pytest.mark.parametrize(
    ("user_id", "key"),
    [
        ("ann", "ann"),
        ("ann@example.com", KEY),
        ("Ann", "%41nn"),
        (".", "%2E"),
        ("..", "%2E%2E"),
        ("a/b", "a%2Fb"),
        ("ä", "%C3%A4"),
        ("user-007", "user-007"),
    ],
)
def test_a_key_is_the_user_id_percent_encoded(
    within: SimpleKVStore, store: KVProfileStore, user_id: str, key: str
) -> None:
    store.save(PreferenceProfile(user_id=user_id))
    assert list(within.get_all(PLACE)) == [key]


def test_profiles_go_to_disk_and_back_with_the_store(
    tmp_path: Path, within: SimpleKVStore, store: KVProfileStore
) -> None:
    stored = store.save(ANN)
    within.persist(str(tmp_path / "kv.json"))
    rows = json.loads((tmp_path / "kv.json").read_text())
    assert rows[PLACE][KEY]["preferences"][0]["text"] == PRIVATE

    again = KVProfileStore(SimpleKVStore.from_persist_path(str(tmp_path / "kv.json")))
    assert again.get("ann@example.com") == stored
    assert again.update("ann@example.com", be_kind).version == 2


def test_profiles_lie_beside_the_documents_of_an_index(tmp_path: Path) -> None:
    within = SimpleKVStore()
    context = StorageContext.from_defaults(docstore=SimpleDocumentStore(within))
    stored = KVProfileStore(within).save(ANN)
    context.persist(str(tmp_path))
    read = SimpleDocumentStore.from_persist_dir(str(tmp_path))
    assert read.docs == {}
    assert isinstance(read._kvstore, SimpleKVStore)
    assert KVProfileStore(read._kvstore).get("ann@example.com") == stored


def test_collections_are_apart(within: SimpleKVStore, store: KVProfileStore) -> None:
    other = KVProfileStore(within, collection="others")
    store.save(ANN)
    within.put("bob", {"user_id": "bob"})
    assert other.get("ann@example.com") is None
    assert other.user_ids() == []
    assert other.save(ANN).version == 1


def test_what_the_store_shares_reaches_no_profile(
    within: SimpleKVStore, store: KVProfileStore
) -> None:
    full = PreferenceProfile(
        user_id="ann@example.com", preferences=[{"text": PRIVATE, "when": {"task": "email"}}]
    )
    stored = store.save(full)
    read = store.get("ann@example.com")
    row = within.get(KEY, PLACE)
    assert row is not None
    row["preferences"][0]["when"]["task"] = "chat"
    row["preferences"].clear()
    assert read == stored
    assert stored.preferences == full.preferences


def test_the_listing_has_no_keys_that_are_not_ours(
    within: SimpleKVStore, store: KVProfileStore
) -> None:
    store.save(ANN)
    for key in ("", "a.b", "Ann", "%zz", "%61nn", "%FF"):
        within.put(key, {"user_id": "eve"}, PLACE)
    assert store.user_ids() == ["ann@example.com"]


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"preferences": 5, "user_id": "ann@example.com"},
        {"user_id": "bob", "preferences": []},
        {"user_id": "ann@example.com", "preferences": [{"text": PRIVATE, "weight": 9}]},
        {"user_id": "ann@example.com", "version": "many"},
    ],
    ids=str,
)
async def test_what_is_no_profile_is_named_and_can_be_replaced_and_deleted(
    within: SimpleKVStore, store: KVProfileStore, value: dict[str, Any]
) -> None:
    within.put(KEY, value, PLACE)
    for read in (
        lambda: store.get("ann@example.com"),
        lambda: asyncio.run(store.aget("ann@example.com")),
        lambda: store.update("ann@example.com", be_kind),
    ):
        with pytest.raises(CorruptProfileError, match="is not a profile") as caught:
            await asyncio.to_thread(read)
        assert PRIVATE not in "".join(traceback.format_exception(caught.value))
    assert store.user_ids() == ["ann@example.com"]
    assert store.save(ANN).version == 1
    within.put(KEY, value, PLACE)
    assert store.delete("ann@example.com") is True


async def test_a_failing_store_is_an_error_of_ours_and_quotes_no_text() -> None:
    class Broken(SimpleKVStore):
        def put(self, key: str, val: dict[str, Any], collection: str = "data") -> None:
            raise ConnectionError(f"no connection for {val}")

        def get_all(self, collection: str = "data") -> Any:
            raise ConnectionError("no connection")

    store = KVProfileStore(Broken())
    calls: list[Any] = [
        lambda: store.save(ANN),
        lambda: store.update("ann", be_kind),
        store.user_ids,
        lambda: asyncio.run(store.asave(ANN)),
        lambda: asyncio.run(store.aupdate("ann", be_kind)),
        lambda: asyncio.run(store.auser_ids()),
    ]
    for call in calls:
        with pytest.raises(ProfileStoreError, match=r"Broken\.\w+ failed:") as caught:
            await asyncio.to_thread(call)
        assert PRIVATE not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("kind", [Remote, ForThreadsAlone])
async def test_a_slow_store_leaves_the_event_loop_free(kind: type[Remote]) -> None:
    store = KVProfileStore(within := kind())
    within.seconds = 0.3
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0.005)
            beats += 1

    beating = asyncio.create_task(beat())
    await asyncio.gather(
        store.asave(ANN), store.aupdate("bob", be_kind), store.aget("bob"), store.adelete("eve")
    )
    assert await store.auser_ids() == ["ann@example.com", "bob"]
    beating.cancel()
    assert beats > 20  # a loop that is held beats once a call


async def test_no_update_is_lost_between_tasks_loops_threads_and_adapters() -> None:
    within = Remote()
    within.seconds = 0.001

    def count(profile: PreferenceProfile) -> PreferenceProfile:
        texts = [it.text for it in profile.preferences]
        return PreferenceProfile(
            user_id="ann", preferences=[*texts, f"This is number {len(texts)}."]
        )

    async def update() -> None:
        await KVProfileStore(within).aupdate("ann", count)

    def elsewhere(number: int) -> None:
        if number % 2:
            asyncio.run(update())
        else:
            KVProfileStore(within).update("ann", count)

    with ThreadPoolExecutor(4) as threads:
        loop = asyncio.get_running_loop()
        others = [loop.run_in_executor(threads, elsewhere, number) for number in range(12)]
        await asyncio.gather(*(update() for _ in range(12)), *others)
    profile = KVProfileStore(within).get("ann")
    assert profile is not None
    assert (profile.version, len(profile.preferences)) == (24, 24)


async def test_a_change_that_has_begun_keeps_its_turn_where_its_task_is_cancelled() -> None:
    store = KVProfileStore(within := ForThreadsAlone())
    within.seconds = 0.05
    first = asyncio.create_task(store.asave(ANN))
    await asyncio.sleep(0.02)
    waiting = asyncio.create_task(store.asave(ANN))
    await asyncio.sleep(0.02)
    first.cancel()
    waiting.cancel()
    results = await asyncio.gather(first, waiting, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError] * 2
    assert (await store.asave(ANN)).version == 2


class Hesitant(dict[str, Any]):
    """A mapping that lets others go first at the worst moment."""

    def __init__(self) -> None:
        time.sleep(0.001)
        super().__init__()

    def __contains__(self, key: object) -> bool:
        found = super().__contains__(key)
        time.sleep(0.001)
        return found


def test_a_store_of_mappings_is_kept_from_meeting_itself() -> None:
    within = MutableMappingKVStore(mapping_factory=Hesitant)

    def live(number: int) -> None:
        store = KVProfileStore(within)
        own = f"user-{number}"
        store.save(PreferenceProfile(user_id=own))
        for _ in range(5):
            store.save(PreferenceProfile(user_id="ann"))
            store.get("ann")
            store.delete("ann")
            assert own in store.user_ids()

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(live, range(6)))


def test_a_cache_sees_what_another_adapter_of_the_store_writes(within: SimpleKVStore) -> None:
    cached = CachedProfileStore(KVProfileStore(within))
    assert cached.get("ann@example.com") is None
    stored = KVProfileStore(within).save(ANN)
    assert cached.get("ann@example.com") == stored
    asyncio.run(KVProfileStore(within).adelete("ann@example.com"))
    assert cached.get("ann@example.com") is None


@pytest.mark.parametrize("thing", [None, {}, SimpleKVStore, KVProfileStore(SimpleKVStore())])
def test_only_key_value_stores_will_do(thing: Any) -> None:
    with pytest.raises(ProfileStoreError, match="BaseKVStore"):
        KVProfileStore(thing)


@pytest.mark.parametrize("collection", ["", " ", None, 5])
def test_a_collection_has_a_name(within: SimpleKVStore, collection: Any) -> None:
    with pytest.raises(ProfileStoreError, match="collection="):
        KVProfileStore(within, collection=collection)


def test_the_repr_shows_where_and_no_texts(store: KVProfileStore) -> None:
    store.save(ANN)
    assert repr(store) == "KVProfileStore(SimpleKVStore, collection='amulet_profiles')"
