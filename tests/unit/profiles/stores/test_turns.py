"""Threads and tasks wait for the same turns, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import threading

import pytest

from amulet_integrations.errors import ProfileStoreError
from amulet_integrations.profiles.stores.keyed_lock import Turns


async def test_a_key_has_one_holder_at_a_time_and_others_do_not_wait_for_it() -> None:
    turns, holding, most = Turns(), 0, 0

    def enter() -> None:
        nonlocal holding, most
        holding += 1
        most = max(most, holding)

    def leave() -> None:
        nonlocal holding
        holding -= 1

    async def task() -> None:
        async with turns.aturn("ann"):
            enter()
            async with turns.aturn("bob"):
                await asyncio.sleep(0.001)
            leave()

    def thread() -> None:
        with turns.turn("ann"):
            enter()
            threading.Event().wait(0.001)
            leave()

    threads = [asyncio.to_thread(thread) for _ in range(10)]
    await asyncio.wait_for(asyncio.gather(*threads, *(task() for _ in range(10))), 20)
    assert (most, holding) == (1, 0)


async def test_a_thread_that_waits_for_its_own_event_loop_gives_up() -> None:
    turns = Turns(patience=0.05)
    async with turns.aturn("ann"):
        with pytest.raises(ProfileStoreError, match="async methods"), turns.turn("ann"):
            pass
    with turns.turn("ann"):
        pass


async def test_who_is_cancelled_while_waiting_is_passed_over() -> None:
    turns = Turns()

    async def hold() -> None:
        async with turns.aturn("ann"):
            pass

    async with turns.aturn("ann"):
        waiting = [asyncio.create_task(hold()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        waiting[2].cancel()
    results = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5)
    assert [isinstance(it, asyncio.CancelledError) for it in results] == [True, False, True]
    await asyncio.wait_for(hold(), 5)


async def test_who_is_cancelled_as_the_turn_comes_passes_it_on() -> None:
    turns = Turns()

    async def hold() -> None:
        async with turns.aturn("ann"):
            pass

    async with turns.aturn("ann"):
        first, second = asyncio.create_task(hold()), asyncio.create_task(hold())
        await asyncio.sleep(0)
    first.cancel()  # its turn has come, but it has not run since
    await asyncio.wait_for(second, 5)
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_an_error_inside_ends_the_turn() -> None:
    turns = Turns()
    for _ in range(2):
        with pytest.raises(KeyError), turns.turn("ann"):
            raise KeyError
        with pytest.raises(KeyError):
            async with turns.aturn("ann"):
                raise KeyError
