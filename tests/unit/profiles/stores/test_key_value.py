"""Profile stores over foreign stores, some of which are for threads only."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from typing import Any

import pytest
from langgraph.store.base import BaseStore, PutOp
from langgraph.store.memory import InMemoryStore

from amulet_integrations import PreferenceProfile
from amulet_integrations.langchain import LangGraphProfileStore
from amulet_integrations.profiles import CachedProfileStore


class ForThreads(BaseStore):
    """A foreign store without async methods, whose next write waits until it may go on."""

    def __init__(self) -> None:
        self._inner = InMemoryStore()
        self.writing, self.going_on, self.slow = (threading.Event() for _ in range(3))

    def batch(self, ops: Iterable[Any]) -> list[Any]:
        ops = list(ops)
        if self.slow.is_set() and any(isinstance(op, PutOp) for op in ops):
            self.slow.clear()
            self.writing.set()
            self.going_on.wait(10)
        return self._inner.batch(ops)

    async def abatch(self, ops: Iterable[Any]) -> list[Any]:
        raise NotImplementedError


def adding(text: str) -> Any:
    return lambda it: it.model_copy(update={"preferences": (*it.preferences, text)})


def test_a_change_holds_its_lock_to_its_end_even_if_the_loop_ends_meanwhile() -> None:
    foreign = ForThreads()
    store = LangGraphProfileStore(foreign)
    cached = CachedProfileStore(LangGraphProfileStore(foreign), ttl=60.0)
    store.save(PreferenceProfile(user_id="ann"))
    foreign.slow.set()

    def other() -> None:
        foreign.writing.wait(10)
        threading.Timer(0.3, foreign.going_on.set).start()
        store.update("ann", adding("Second."))
        cached.get("ann")

    async def impatient() -> None:
        await asyncio.wait_for(store.aupdate("ann", adding("First.")), 0.05)

    thread = threading.Thread(target=other)
    thread.start()
    with pytest.raises(TimeoutError):
        asyncio.run(impatient())
    thread.join()
    for reader in (store, cached):
        assert [it.text for it in reader.get("ann").preferences] == ["First.", "Second."]
