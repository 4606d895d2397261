"""Threads and tasks wait for the same locks, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import threading

import pytest

from amulet_integrations.errors import ProfileStoreError
from amulet_integrations.profiles.stores.keyed_lock import KeyedLock


async def test_a_key_has_one_holder_at_a_time_and_others_do_not_wait_for_it() -> None:
    lock, holding, most = KeyedLock(), 0, 0

    def enter() -> None:
        nonlocal holding, most
        holding += 1
        most = max(most, holding)

    def leave() -> None:
        nonlocal holding
        holding -= 1

    async def task() -> None:
        async with lock.ahold("ann"):
            enter()
            async with lock.ahold("bob"):
                await asyncio.sleep(0.001)
            leave()

    def thread() -> None:
        with lock.hold("ann"):
            enter()
            threading.Event().wait(0.001)
            leave()

    threads = [asyncio.to_thread(thread) for _ in range(10)]
    await asyncio.wait_for(asyncio.gather(*threads, *(task() for _ in range(10))), 20)
    assert (most, holding) == (1, 0)


async def test_a_thread_that_waits_for_its_own_event_loop_gives_up() -> None:
    lock = KeyedLock(timeout=0.05)
    async with lock.ahold("ann"):
        with pytest.raises(ProfileStoreError, match="async methods"), lock.hold("ann"):
            pass
    with lock.hold("ann"):
        pass


async def test_a_task_that_is_cancelled_while_it_waits_is_passed_over() -> None:
    lock = KeyedLock()

    async def hold() -> None:
        async with lock.ahold("ann"):
            pass

    async with lock.ahold("ann"):
        waiting = [asyncio.create_task(hold()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        waiting[2].cancel()
    results = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5)
    assert [isinstance(it, asyncio.CancelledError) for it in results] == [True, False, True]
    await asyncio.wait_for(hold(), 5)


async def test_a_task_that_is_cancelled_as_it_gets_the_lock_passes_it_on() -> None:
    lock = KeyedLock()

    async def hold() -> None:
        async with lock.ahold("ann"):
            pass

    async with lock.ahold("ann"):
        first, second = asyncio.create_task(hold()), asyncio.create_task(hold())
        await asyncio.sleep(0)
    first.cancel()  # it has the lock, but it has not run since
    await asyncio.wait_for(second, 5)
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_an_error_inside_releases_the_lock() -> None:
    lock = KeyedLock()
    for _ in range(2):
        with pytest.raises(KeyError), lock.hold("ann"):
            raise KeyError
        with pytest.raises(KeyError):
            async with lock.ahold("ann"):
                raise KeyError
