"""Nobody waits for another user's hanging calls, whichever async method of a store makes them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial
from typing import Any

import pytest
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from llama_index.core.storage.kvstore import SimpleKVStore

from amulet_integrations import InMemoryProfileStore, PreferenceProfile, ProfileLimits
from amulet_integrations.langchain import LangGraphProfileStore
from amulet_integrations.llama_index import KVProfileStore
from amulet_integrations.profiles import CachedProfileStore
from amulet_integrations.profiles.stores.access import aread_profile, aread_whole_profile
from amulet_integrations.profiles.sync_async import on_thread

LIMITS = ProfileLimits(parents={"team"})
BOB = PreferenceProfile(user_id="bob", parent="team")
TEAM = PreferenceProfile(user_id="team", preferences=["Be kind."])


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Whoever hangs waits for it."""
    gate = threading.Event()
    yield gate
    gate.set()


class Hanging(BaseStore):
    """A foreign store for threads only, which hangs where mallory is concerned."""

    def __init__(self, gate: threading.Event) -> None:
        self._inner, self._gate = InMemoryStore(), gate

    def batch(self, ops: Iterable[Any]) -> list[Any]:
        ops = list(ops)
        if "mallory" in str(ops):
            self._gate.wait(20)
        return self._inner.batch(ops)

    async def abatch(self, ops: Iterable[Any]) -> list[Any]:
        raise NotImplementedError


class HangingKV(SimpleKVStore):
    def __init__(self, gate: threading.Event) -> None:
        super().__init__()
        self._gate = gate

    def get(self, key: str, collection: str = "data") -> dict[str, Any] | None:
        if key == "mallory":
            self._gate.wait(20)
        return super().get(key, collection)

    async def aget(self, key: str, collection: str = "data") -> dict[str, Any] | None:
        raise NotImplementedError


class HangingProfiles(InMemoryProfileStore):
    """A store of profiles that hangs; for mallory also where the team's profile is read."""

    def __init__(self, gate: threading.Event) -> None:
        super().__init__(limits=LIMITS)
        self._gate = gate
        self.team_hangs = False

    def get(self, user_id: str) -> PreferenceProfile | None:
        if user_id == "mallory" or (user_id == "team" and self.team_hangs):
            self._gate.wait(20)
        return super().get(user_id)

    def save(self, profile: PreferenceProfile) -> PreferenceProfile:
        self.get(profile.user_id)
        return super().save(profile)

    def delete(self, user_id: str) -> bool:
        self.get(user_id)
        return super().delete(user_id)

    def load(self, text: str) -> None:
        self._gate.wait(20)

    aload = on_thread(load)


MALLORY = PreferenceProfile(user_id="mallory")
Hang = Callable[[Any, int], Awaitable[Any]]
HANGS: dict[str, Hang] = {
    "aget": lambda store, _: store.aget("mallory"),
    "aget by name": lambda store, _: store.aget(user_id="mallory"),
    "asave": lambda store, _: store.asave(MALLORY),
    "asave by name": lambda store, _: store.asave(profile=MALLORY),
    "adelete by name": lambda store, _: store.adelete(user_id="mallory"),
    "aupdate by name": lambda store, _: store.aupdate(user_id="mallory", function=lambda it: it),
    "aread_profile": lambda store, _: aread_profile(store, "mallory"),
}
STORES: dict[str, Callable[[threading.Event], Any]] = {
    "langgraph": lambda gate: LangGraphProfileStore(Hanging(gate), limits=LIMITS),
    "llama_index": lambda gate: KVProfileStore(HangingKV(gate), limits=LIMITS),
    "own": HangingProfiles,
    "cached": lambda gate: CachedProfileStore(HangingProfiles(gate), ttl=0),
}


async def check_that_nobody_waits(
    store: Any,
    gate: threading.Event,
    hang: Callable[[int], Awaitable[Any]],
    *,
    is_of_user: bool = True,
) -> None:
    store.save(TEAM)
    store.save(BOB)
    hanging = [asyncio.ensure_future(hang(number)) for number in range(40)]
    await asyncio.sleep(0.1)
    try:
        async with asyncio.timeout(10):
            assert (await store.aget("bob")).parent == "team"
            whole = await aread_whole_profile(store, "bob", LIMITS)
            assert whole.preferences == TEAM.preferences
            if is_of_user:
                assert await store.auser_ids() == ["bob", "team"]
        assert not any(it.done() for it in hanging)
        for it in hanging[4:]:  # these have not begun, and so they end at once
            it.cancel()
        _, late = await asyncio.wait(hanging[4:], timeout=10)
        assert not late
    finally:  # before the loop ends, which waits for what has begun
        gate.set()
        await asyncio.gather(*hanging, return_exceptions=True)


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("name", HANGS)
async def test_nobody_waits_for_a_user_who_hangs(
    kind: str, name: str, gate: threading.Event
) -> None:
    store = STORES[kind](gate)
    await check_that_nobody_waits(store, gate, partial(HANGS[name], store))


async def test_nobody_waits_for_files_that_hang(gate: threading.Event) -> None:
    store = HangingProfiles(gate)

    def load(number: int) -> Awaitable[None]:
        return store.aload(f"file {number}")

    await check_that_nobody_waits(store, gate, load, is_of_user=False)


async def test_a_parent_is_read_for_the_user_who_has_it(gate: threading.Event) -> None:
    store = HangingProfiles(gate)
    store.save(TEAM)
    store.save(BOB)
    mallory = PreferenceProfile(user_id="mallory", parent="team")
    store.team_hangs = True
    hanging = [asyncio.ensure_future(aread_whole_profile(store, mallory)) for _ in range(40)]
    await asyncio.sleep(0.1)
    store.team_hangs = False
    async with asyncio.timeout(10):
        assert (await aread_whole_profile(store, "bob")).preferences == TEAM.preferences
    assert not any(it.done() for it in hanging)
    gate.set()
    await asyncio.gather(*hanging)
