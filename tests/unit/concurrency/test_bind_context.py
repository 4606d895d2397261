"""Work that is done later, as it would have been done at once."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

import pytest

from amulet_integrations.concurrency.bind_context import (
    bind_async_iterator,
    bind_coroutine,
    bind_iterator,
)

WHO = ContextVar("WHO", default="nobody")


@pytest.fixture(autouse=True)
def _nobody():
    token = WHO.set("nobody")
    yield
    WHO.reset(token)


def asked_by(who, ask, work):
    """What `ask` makes of `work` while `who` is asking."""
    token = WHO.set(who)
    try:
        return ask(work)
    finally:
        WHO.reset(token)


class Steps:
    """Tells who reads each step; remembers that it was closed, and by whom."""

    def __init__(self, steps=3):
        self.steps = steps
        self.closed_for = None

    def generator(self):
        try:
            for _ in range(self.steps):
                yield WHO.get()
        finally:
            self.closed_for = WHO.get()

    async def agenerator(self):
        try:
            for _ in range(self.steps):
                await asyncio.sleep(0)
                yield WHO.get()
        finally:
            await asyncio.sleep(0)
            self.closed_for = WHO.get()

    async def coroutine(self):
        try:
            before = WHO.get()
            await asyncio.sleep(0)
            return [before, WHO.get()]
        finally:
            self.closed_for = WHO.get()


def test_a_generator_takes_each_step_for_who_asked():
    steps = Steps()
    late = asked_by("ann", bind_iterator, steps.generator())
    assert asked_by("bob", list, late) == ["ann"] * 3
    assert steps.closed_for == "ann"


def test_a_generator_may_be_read_in_another_thread():
    late = asked_by("ann", bind_iterator, Steps().generator())
    seen = [next(late)]
    thread = threading.Thread(target=lambda: seen.extend(late))
    thread.start()
    thread.join(10)
    assert seen == ["ann"] * 3


def test_nobody_in_particular_is_somebody_too():
    late = bind_iterator(Steps().generator())
    assert asked_by("bob", list, late) == ["nobody"] * 3


def test_what_a_step_sets_is_there_in_the_next_one_and_nowhere_else():
    def steps():
        for who in ("cat", "dog"):
            yield WHO.get()
            WHO.set(who)
        yield WHO.get()

    late = asked_by("ann", bind_iterator, steps())
    assert list(late) == ["ann", "cat", "dog"]
    assert WHO.get() == "nobody"


def test_two_readers_are_kept_apart():
    ann = asked_by("ann", bind_iterator, Steps().generator())
    bob = asked_by("bob", bind_iterator, Steps().generator())
    assert [who for pair in zip(ann, bob, strict=True) for who in pair] == ["ann", "bob"] * 3


def test_an_iterator_that_cannot_be_closed_will_do():
    late = bind_iterator(iter([1, None, False]))
    assert list(late) == [1, None, False]
    short = bind_iterator(iter([1, 2]))
    assert next(short) == 1
    short.close()
    assert list(short) == []


def test_a_generator_that_is_closed_early_closes_what_it_reads():
    steps = Steps()
    late = asked_by("ann", bind_iterator, steps.generator())
    next(late)
    assert steps.closed_for is None
    asked_by("bob", lambda it: it.close(), late)
    assert steps.closed_for == "ann"


def test_a_failing_generator_fails_as_it_does():
    def steps():
        yield 1
        raise RuntimeError("no more")

    late = bind_iterator(steps())
    assert next(late) == 1
    with pytest.raises(RuntimeError, match="no more"):
        next(late)


async def test_an_async_generator_takes_each_step_for_who_asked():
    steps = Steps()
    late = asked_by("ann", bind_async_iterator, steps.agenerator())
    WHO.set("bob")
    assert [who async for who in late] == ["ann"] * 3
    assert WHO.get() == "bob"
    assert steps.closed_for == "ann"


async def test_an_async_iterator_that_cannot_be_closed_will_do():
    class Once:
        left = 1

        def __aiter__(self):
            return self

        async def __anext__(self):
            if not self.left:
                raise StopAsyncIteration
            self.left -= 1
            return WHO.get()

    late = asked_by("ann", bind_async_iterator, Once())
    assert [who async for who in late] == ["ann"]


async def test_an_async_generator_that_is_closed_early_closes_what_it_reads():
    steps = Steps()
    late = asked_by("ann", bind_async_iterator, steps.agenerator())
    assert await anext(late) == "ann"
    assert steps.closed_for is None
    await late.aclose()
    assert steps.closed_for == "ann"


async def test_a_failing_async_generator_fails_as_it_does():
    async def steps():
        yield 1
        raise RuntimeError("no more")

    late = bind_async_iterator(steps())
    assert await anext(late) == 1
    with pytest.raises(RuntimeError, match="no more"):
        await anext(late)


async def test_a_coroutine_runs_for_who_asked():
    steps = Steps()
    late = asked_by("ann", bind_coroutine, steps.coroutine())
    WHO.set("bob")
    assert await late == ["ann", "ann"]
    assert WHO.get() == "bob"


async def test_a_failing_coroutine_fails_as_it_does():
    async def work():
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        await bind_coroutine(work())


class Waiting:
    """Waits for ever; tells when it has begun, and whether it was ended."""

    def __init__(self):
        self.begun = asyncio.Event()
        self.ended = False

    async def wait(self):
        try:
            self.begun.set()
            await asyncio.Event().wait()
        finally:
            self.ended = True

    async def steps(self):
        yield 1
        await self.wait()

    async def read(self):
        return [step async for step in bind_async_iterator(self.steps())]


@pytest.mark.parametrize(
    "work",
    [lambda it: bind_coroutine(it.wait()), lambda it: it.read()],
    ids=["coroutine", "iterator"],
)
async def test_who_is_cancelled_ends_the_work(work):
    waiting = Waiting()
    task = asyncio.ensure_future(work(waiting))
    await asyncio.wait_for(waiting.begun.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert waiting.ended
