"""Profiles in a LangGraph store; what every store promises is in the contract's suite."""

from __future__ import annotations

import asyncio
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from langgraph.store.sqlite import AsyncSqliteStore

from amulet_integrations import PreferenceProfile
from amulet_integrations.errors import (
    CorruptProfileError,
    InvalidProfileError,
    ProfileStoreError,
)
from amulet_integrations.langchain import LangGraphProfileStore
from amulet_integrations.profiles import CachedProfileStore

PRIVATE = "I am recovering from an illness"
ANN = PreferenceProfile(user_id="ann@example.com", preferences=[PRIVATE])
PLACE = ("users", "ann@example%2Ecom", "preferences")

labels = st.text(
    st.one_of(
        st.sampled_from("%.*2EAa6C langraph{}/"),
        st.characters(exclude_categories=["Cc", "Cs"]),
    ),
    min_size=1,
    max_size=40,
).filter(str.strip)


@pytest.fixture
def below() -> InMemoryStore:
    return InMemoryStore()


@pytest.fixture
def store(below: InMemoryStore) -> LangGraphProfileStore:
    return LangGraphProfileStore(below)


@settings(deadline=None)  # a busy machine is no failure
@given(st.sets(labels, max_size=8))
@pytest.mark.parametrize(
    "namespace", [("users", "{user_id}", "preferences"), ("{user_id}",), ("a", "u-{user_id}-x")]
)
def test_any_users_are_told_apart(namespace: tuple[str, ...], users: set[str]) -> None:
    store = LangGraphProfileStore(InMemoryStore(), namespace)
    for user_id in users:
        store.save(PreferenceProfile(user_id=user_id, preferences=[f"I am {user_id!r}."]))
    assert store.user_ids() == sorted(users)
    for user_id in users:
        profile = store.get(user_id)
        assert profile is not None
        assert profile.preferences[0].text == f"I am {user_id!r}."
        assert profile.version == 1


def test_profiles_are_plain_json_in_the_users_own_namespace(
    below: InMemoryStore, store: LangGraphProfileStore
) -> None:
    store.save(ANN)
    item = below.get(PLACE, "profile")
    assert item is not None
    assert item.value["user_id"] == "ann@example.com"
    assert item.value["preferences"][0]["text"] == PRIVATE
    assert item.value["version"] == 1


def test_the_listing_has_every_page_and_nothing_else(
    below: InMemoryStore, store: LangGraphProfileStore
) -> None:
    users = [f"user-{number:03}" for number in range(250)]
    for user_id in users:
        store.save(PreferenceProfile(user_id=user_id))
    below.put(("users", "eve", "preferences"), "theme", {"dark": True})
    below.put(("users", "eve", "notes"), "profile", {"user_id": "eve"})
    below.put(("users", "eve", "more", "preferences"), "profile", {"user_id": "eve"})
    below.put(("users", "eve%zz", "preferences"), "profile", {"user_id": "eve"})
    store.delete("user-007")
    assert store.get("nobody") is None
    assert store.user_ids() == [user_id for user_id in users if user_id != "user-007"]


def test_a_store_that_gives_small_pages_is_listed_whole() -> None:
    class Stingy(InMemoryStore):
        def list_namespaces(self, *args: Any, limit: int = 100, **options: Any) -> Any:
            return super().list_namespaces(*args, limit=min(limit, 3), **options)

    store = LangGraphProfileStore(Stingy())
    users = [f"user-{number}" for number in range(8)]
    for user_id in users:
        store.save(PreferenceProfile(user_id=user_id))
    assert store.user_ids() == users


async def test_the_async_forms_do_the_same(
    below: InMemoryStore, store: LangGraphProfileStore
) -> None:
    stored = await store.asave(ANN)
    assert stored.version == 1
    assert await store.aget("ann@example.com") == stored == store.get("ann@example.com")
    assert (await store.asave(ANN)).version == 2
    assert await store.auser_ids() == ["ann@example.com"]
    assert await store.adelete("ann@example.com") is True
    assert await store.adelete("ann@example.com") is False
    assert await store.aget("ann@example.com") is None
    for method in (store.aget, store.adelete):
        with pytest.raises(InvalidProfileError, match="user_id"):
            await method("")
    with pytest.raises(InvalidProfileError, match="PreferenceProfile"):
        await store.asave("ann")  # type: ignore[arg-type]


class Sluggish(InMemoryStore):
    """Lets others go first after every read."""

    async def aget(self, *args: Any, **options: Any) -> Any:
        item = await super().aget(*args, **options)
        await asyncio.sleep(0.001)
        return item


async def test_no_version_is_lost_between_tasks_loops_and_threads() -> None:
    below = Sluggish()

    async def save() -> int:
        return (await LangGraphProfileStore(below).asave(ANN)).version

    def save_elsewhere(number: int) -> int:
        if number % 2:
            return asyncio.run(save())
        return LangGraphProfileStore(below).save(ANN).version

    with ThreadPoolExecutor(4) as threads:
        elsewhere = [
            asyncio.get_running_loop().run_in_executor(threads, save_elsewhere, number)
            for number in range(20)
        ]
        versions = await asyncio.gather(*(save() for _ in range(20)), *elsewhere)
    assert sorted(versions) == list(range(1, 41))


async def test_a_cancelled_save_leaves_its_turn_to_others() -> None:
    store = LangGraphProfileStore(Sluggish())
    tasks = [asyncio.create_task(store.asave(ANN)) for _ in range(6)]
    await asyncio.sleep(0)
    for task in (tasks[0], tasks[2], tasks[3]):
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    stored = await asyncio.wait_for(store.asave(ANN), 5)
    assert stored.version == 4  # tasks 1, 4, 5 and this one


async def test_a_store_for_event_loops_alone_will_do(tmp_path: Path) -> None:
    async with AsyncSqliteStore.from_conn_string(str(tmp_path / "store.db")) as below:
        await below.setup()
        store = LangGraphProfileStore(below)
        stored = await store.asave(ANN)
        assert await store.aget("ann@example.com") == stored
        assert (await store.aupdate("ann@example.com", lambda _: ANN)).version == 2
        assert await store.auser_ids() == ["ann@example.com"]
        assert await asyncio.to_thread(store.get, "ann@example.com") is not None
        # On its own loop's thread it would wait for itself, and says so.
        with pytest.raises(ProfileStoreError, match="failed: InvalidStateError"):
            store.get("ann@example.com")


async def test_a_cache_sees_what_another_adapter_of_the_store_writes(below: InMemoryStore) -> None:
    cached = CachedProfileStore(LangGraphProfileStore(below))
    elsewhere = CachedProfileStore(LangGraphProfileStore(below, ("others", "{user_id}")))
    assert cached.get("ann@example.com") is None is elsewhere.get("ann@example.com")
    stored = await LangGraphProfileStore(below).asave(ANN)
    assert cached.get("ann@example.com") == stored
    assert await LangGraphProfileStore(below).adelete("ann@example.com")
    assert await cached.aget("ann@example.com") is None


def test_what_the_store_shares_reaches_no_profile(
    below: InMemoryStore, store: LangGraphProfileStore
) -> None:
    stored = store.save(ANN)
    read = store.get("ann@example.com")
    item = below.get(PLACE, "profile")
    assert item is not None
    item.value["preferences"].clear()
    assert read == stored
    assert stored.preferences == ANN.preferences


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"preferences": 5, "user_id": "ann@example.com"},
        {"user_id": "bob", "preferences": []},
        {"user_id": "ann@example.com", "preferences": [{"text": PRIVATE, "weight": 9}]},
        {"user_id": "ann@example.com", "nonsense": PRIVATE},
        {"user_id": "ann@example.com", "version": -3},
        {"user_id": "ann@example.com", "version": "many"},
    ],
    ids=str,
)
async def test_what_is_no_profile_is_named_and_can_be_replaced_and_deleted(
    below: InMemoryStore, store: LangGraphProfileStore, value: dict[str, Any]
) -> None:
    below.put(PLACE, "profile", value)
    for read in (lambda: store.get("ann@example.com"), lambda: asyncio.run(_aget(store))):
        with pytest.raises(CorruptProfileError, match="is not a profile") as caught:
            await asyncio.to_thread(read)
        assert "store.delete('ann@example.com')" in str(caught.value)
        assert PRIVATE not in "".join(traceback.format_exception(caught.value))
    assert store.user_ids() == ["ann@example.com"]
    stored = store.save(ANN)
    assert stored.version == 1
    assert store.get("ann@example.com") == stored
    below.put(PLACE, "profile", value)
    assert store.delete("ann@example.com") is True


async def _aget(store: LangGraphProfileStore) -> Any:
    return await store.aget("ann@example.com")


class Broken(InMemoryStore):
    """Fails, and quotes what it was given."""

    def batch(self, ops: Any) -> Any:
        raise ConnectionError(f"no connection for {list(ops)}")

    async def abatch(self, ops: Any) -> Any:
        raise ConnectionError(f"no connection for {list(ops)}")


class ReadOnly(InMemoryStore):
    def put(self, *args: Any, **_: Any) -> None:
        raise ConnectionError(f"read only: {args}")

    async def aput(self, *args: Any, **_: Any) -> None:
        raise ConnectionError(f"read only: {args}")


async def test_a_failing_store_is_an_error_of_ours() -> None:
    store = LangGraphProfileStore(Broken())
    calls: list[Any] = [
        lambda: store.save(ANN),
        lambda: store.get("ann"),
        lambda: store.delete("ann"),
        store.user_ids,
        lambda: asyncio.run(store.asave(ANN)),
        lambda: asyncio.run(store.aget("ann")),
        lambda: asyncio.run(store.adelete("ann")),
        lambda: asyncio.run(store.auser_ids()),
    ]
    for call in calls:
        with pytest.raises(ProfileStoreError, match=r"Broken\.\w+ failed: ConnectionError"):
            await asyncio.to_thread(call)


async def test_a_failed_write_quotes_no_text() -> None:
    store = LangGraphProfileStore(ReadOnly())
    for call in (lambda: store.save(ANN), lambda: asyncio.run(store.asave(ANN))):
        with pytest.raises(ProfileStoreError, match=r"ReadOnly\.put failed") as caught:
            await asyncio.to_thread(call)
        assert PRIVATE not in "".join(traceback.format_exception(caught.value))


def test_texts_are_kept_from_embedding_models() -> None:
    seen: list[str] = []

    def embed(texts: Any) -> Any:
        seen.extend(texts)
        return [[0.0, 1.0] for _ in texts]

    below = InMemoryStore(index={"dims": 2, "embed": embed})
    below.put(("x",), "y", {"text": "this one is embedded"})
    LangGraphProfileStore(below).save(ANN)
    assert len(seen) == 1


@pytest.mark.parametrize("thing", [None, {}, InMemoryStore, LangGraphProfileStore(InMemoryStore())])
def test_only_langgraph_stores_will_do(thing: Any) -> None:
    with pytest.raises(ProfileStoreError, match="BaseStore"):
        LangGraphProfileStore(thing)


@pytest.mark.parametrize(
    "namespace",
    [
        (),
        "{user_id}",
        ("users",),
        ("users", ""),
        ("users", "{user_id}", "a.b"),
        ("users", 5, "{user_id}"),
        ("{user_id}", "{user_id}"),
        ("{user_id}{user_id}",),
        ("langgraph", "{user_id}"),
    ],
    ids=str,
)
def test_namespaces_that_cannot_be_are_refused(below: BaseStore, namespace: Any) -> None:
    with pytest.raises(ProfileStoreError, match="namespace="):
        LangGraphProfileStore(below, namespace)


def test_the_repr_shows_where_and_no_texts(store: LangGraphProfileStore) -> None:
    store.save(ANN)
    assert "InMemoryStore" in repr(store)
    assert PRIVATE not in repr(store)
