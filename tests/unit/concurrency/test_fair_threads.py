"""The package's own threads: bounded, shared between users, and given up in time."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from functools import partial

import pytest

from amulet_integrations.concurrency.deadline import Deadline
from amulet_integrations.concurrency.fair_threads import FairThreads
from amulet_integrations.concurrency.thread_groups import join_group
from amulet_integrations.errors import (
    EngineOverloadedError,
    RequestCancelledError,
    RequestTimeoutError,
)

PLACE: ContextVar[str] = ContextVar("place", default="nowhere")


class Gate:
    """Work that waits until it is let go, and counts who waits in it."""

    def __init__(self) -> None:
        self.inside: list[str | None] = []
        self._open = threading.Event()
        self._changed = threading.Condition()

    def enter(self, user_id: str | None) -> str | None:
        with self._changed:
            self.inside.append(user_id)
            self._changed.notify_all()
        assert self._open.wait(20)
        return user_id

    def wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.inside) >= count, 20)

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.open()


def start(pool, gate, user_id):
    return pool.start(partial(gate.enter, user_id), user_id)


async def test_one_user_takes_no_more_than_a_share_and_the_rest_follows(gate):
    pool = FairThreads("test", max_threads=8, share=3, reserve=2)
    hostile = [start(pool, gate, "mallory") for _ in range(40)]
    await asyncio.to_thread(gate.wait_for, 3)
    assert await pool.start(lambda: "answered", "ann") == "answered"
    assert gate.inside == ["mallory"] * 3
    gate.open()
    assert await asyncio.gather(*hostile) == ["mallory"] * 40


async def test_work_for_nobody_in_particular_leaves_threads_to_users(gate):
    pool = FairThreads("test", max_threads=6, share=2, reserve=2)
    nobody = [start(pool, gate, None) for _ in range(20)]
    await asyncio.to_thread(gate.wait_for, 4)
    assert await pool.start(lambda: "answered", "ann") == "answered"
    assert gate.inside == [None] * 4
    gate.open()
    await asyncio.gather(*nobody)


async def test_a_few_users_leave_threads_to_those_who_have_none(gate):
    pool = FairThreads("test", max_threads=8, share=3, reserve=2)
    works = [start(pool, gate, user_id) for user_id in ("ann", "bob") for _ in range(9)]
    await asyncio.to_thread(gate.wait_for, 6)
    works += [start(pool, gate, "carol") for _ in range(9)]
    await asyncio.to_thread(gate.wait_for, 7)
    assert await pool.start(lambda: "answered", "dave") == "answered"
    assert sorted(gate.inside) == ["ann"] * 3 + ["bob"] * 3 + ["carol"]
    gate.open()
    await asyncio.gather(*works)


class Message:
    """Something that work holds."""


async def test_a_group_leaves_threads_to_others_however_many_users_it_names(gate):
    pool = FairThreads("test", max_threads=8, share=2, reserve=3)

    async def of(group, *users):
        join_group(group)
        return [start(pool, gate, user) for user in users]

    hostile = await asyncio.create_task(of("mallory's", *map(str, range(40)), None))
    await asyncio.to_thread(gate.wait_for, 5)
    others = await asyncio.create_task(of("web", "ann", None, "ben"))
    await asyncio.to_thread(gate.wait_for, 7)
    assert gate.inside[5:] == ["ann", None]  # a share of the reserve
    others += [start(pool, gate, "eve")]  # of no group
    await asyncio.to_thread(gate.wait_for, 8)
    assert gate.inside == ["0", "1", "2", "3", "4", "ann", None, "eve"]
    gate.open()
    await asyncio.gather(*hostile, *others)
    assert len(gate.inside) == 45


async def test_work_that_nobody_waits_for_is_dropped_with_all_it_holds(gate):
    pool = FairThreads("test", max_threads=1, share=1, reserve=0)
    first = start(pool, gate, "ann")
    message = Message()
    dropped = weakref.ref(message)

    def work(_message=message):
        return None

    with pytest.raises(RequestTimeoutError):
        await pool.arun(work, deadline=Deadline(0.01), user_id="ann")
    task = asyncio.ensure_future(pool.arun(work, deadline=Deadline(), user_id="ann"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    del message, work, task
    await asyncio.sleep(0.01)
    gc.collect()
    assert dropped() is None
    gate.open()
    await first


async def test_users_whose_work_waits_take_turns(gate):
    pool = FairThreads("test", max_threads=1, share=1, reserve=0)
    order: list[str] = []
    first = start(pool, gate, "first")
    users = ("ann", "ann", "ann", "bob", "carol", "bob")
    others = [pool.start(partial(order.append, user_id), user_id) for user_id in users]
    gate.open()
    await asyncio.gather(first, *others)
    assert order == ["ann", "bob", "carol", "ann", "bob", "ann"]


async def test_what_is_cancelled_before_it_begins_never_runs(gate):
    pool = FairThreads("test", max_threads=1, share=1, reserve=0)
    first = start(pool, gate, "ann")
    done: list[int] = []
    waiting = pool.start(partial(done.append, 1), "ann")
    last = pool.start(partial(done.append, 2), "ann")
    waiting.cancel()
    await asyncio.sleep(0)  # asyncio hands it on in its next turn
    gate.open()
    await asyncio.gather(first, last)
    assert done == [2]


async def test_a_cancelled_task_waits_for_what_has_begun_and_for_nothing_else(gate):
    pool = FairThreads("test", max_threads=1, share=1)
    ran: list[str] = []
    begun = asyncio.create_task(pool.finish(partial(gate.enter, "ann"), "ann"))
    await asyncio.to_thread(gate.wait_for, 1)
    waiting = asyncio.create_task(pool.finish(partial(ran.append, "bob"), "bob"))
    await asyncio.sleep(0)
    for task in (begun, waiting):
        task.cancel()
    await asyncio.wait([begun, waiting], return_when=asyncio.FIRST_COMPLETED, timeout=20)
    assert waiting.cancelled()
    assert not begun.done()
    gate.open()
    await asyncio.wait([begun], timeout=20)
    assert begun.cancelled()
    assert await pool.finish(lambda: "answered", "bob") == "answered"
    assert ran == []
    with pytest.raises(ZeroDivisionError):
        await pool.finish(lambda: 1 // 0, "bob")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere priorities are the process's")
async def test_threads_give_way_to_those_that_decode():
    pool = FairThreads("test")

    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    own = niceness()
    found = {await pool.start(niceness), await pool.arun(niceness, deadline=Deadline())}
    assert found == {min(own + 15, 19)}
    assert niceness() == own


def test_without_a_timeout_work_stays_on_the_callers_thread():
    pool = FairThreads("test")
    assert pool.run(threading.get_ident, deadline=Deadline()) == threading.get_ident()
    assert pool.run(threading.get_ident, deadline=Deadline(20)) != threading.get_ident()


@pytest.mark.parametrize("is_async", [False, True], ids=["run", "arun"])
def test_a_caller_waits_no_longer_than_the_deadline(gate, is_async):
    pool, deadline = FairThreads("test"), Deadline(0.1)

    def work():
        deadline.check("while the gate was shut")
        gate.enter("ann")
        deadline.check("after the gate")

    def wait():
        if is_async:
            return asyncio.run(pool.arun(work, deadline=deadline, user_id="ann"))
        return pool.run(work, deadline=deadline, user_id="ann")

    with pytest.raises(RequestTimeoutError, match=r"0\.1 s: .* while the gate was shut"):
        wait()
    with pytest.raises(RequestCancelledError):  # what it left behind ends at its next check
        deadline.check("after the gate")


async def test_a_cancelled_task_ends_the_work_at_its_next_check(gate):
    pool, deadline = FairThreads("test"), Deadline()
    ended: list[BaseException] = []

    def work():
        gate.enter("ann")
        try:
            deadline.check("after the gate")
        except RequestCancelledError as error:
            ended.append(error)

    task = asyncio.ensure_future(pool.arun(work, deadline=deadline, user_id="ann"))
    await asyncio.to_thread(gate.wait_for, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.open()
    assert await pool.start(lambda: 1, "bob") == 1
    async with asyncio.timeout(20):
        while not ended:  # noqa: ASYNC110 - the state of another thread
            await asyncio.sleep(0.005)


async def test_an_error_that_comes_with_the_cancellation_is_no_complaint_of_asyncio():
    """Its text may be private, and nobody waits for it any more."""
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    pool, failed = FairThreads("test"), threading.Event()

    def fail():
        failed.set()
        raise ValueError("private")

    task = asyncio.ensure_future(pool.arun(fail, deadline=Deadline()))
    await asyncio.sleep(0)
    assert failed.wait(20)
    time.sleep(0.2)  # noqa: ASYNC251 - the loop stands still, while the error is on its way to it
    asyncio.get_running_loop().call_soon(task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()
    del task
    await asyncio.sleep(0)
    gc.collect()
    assert not complaints


@pytest.mark.parametrize("error", [KeyError("x"), RequestTimeoutError("theirs")])
async def test_errors_and_context_variables_pass_through(error):
    pool = FairThreads("test")

    def fail():
        raise error

    PLACE.set("here")
    for timeout in (None, 20):
        assert await pool.arun(PLACE.get, deadline=Deadline(timeout)) == "here"
        with pytest.raises(type(error), match=str(error)):
            await pool.arun(fail, deadline=Deadline(timeout))
        with pytest.raises(type(error), match=str(error)):
            await asyncio.to_thread(pool.run, fail, deadline=Deadline(timeout))
    with pytest.raises(type(error), match=str(error)):
        await pool.start(fail)


def test_work_that_waits_for_other_work_of_the_pool_never_blocks():
    pool, other = FairThreads("test", max_threads=1, reserve=0), FairThreads("other")

    async def inner():
        return await pool.start(lambda: "answered", "ann")

    def outer():
        assert pool.run(lambda: 2, deadline=Deadline(20), user_id="ann") == 2
        assert other.run(lambda: 3, deadline=Deadline(20)) == 3
        return asyncio.run(inner())

    assert pool.run(outer, deadline=Deadline(20), user_id="ann") == "answered"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_has_threads_of_its_own(gate):
    pool = FairThreads("test", max_threads=1, reserve=0)
    with ThreadPoolExecutor(1) as callers:
        held = callers.submit(pool.run, partial(gate.enter, None), deadline=Deadline(20))
        gate.wait_for(1)
        if (child := os.fork()) == 0:
            os._exit(pool.run(lambda: 7, deadline=Deadline(20)))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        gate.open()
        held.result(20)


@pytest.mark.parametrize("may_be_left", [True, False])
async def test_a_system_without_threads_is_not_taken_for_a_shutdown(monkeypatch, may_be_left):
    pool, ran = FairThreads("test"), []

    def cannot(_thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", cannot)
        refused = pool.start(partial(ran.append, 7), "ann", may_be_left=may_be_left)
        with pytest.raises(EngineOverloadedError, match=rf"has {threading.active_count()}, .*pids"):
            await refused
    for number in range(9):  # more than ann may have at a time
        await pool.start(partial(ran.append, number), "ann", may_be_left=may_be_left)
    assert ran == list(range(9))


def run_script(code):
    """Runs a script in a fresh interpreter; returns its exit code, its output and its seconds."""
    begun = time.monotonic()
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )
    return ran.returncode, ran.stdout, ran.stderr, time.monotonic() - begun


HANGING_STORE = """
import asyncio, threading, time
from functools import partial
from amulet_integrations import InMemoryProfileStore
from amulet_integrations.concurrency.deadline import Deadline
from amulet_integrations.errors import RequestTimeoutError
from amulet_integrations.concurrency.fair_threads import REQUEST_THREADS
from amulet_integrations.profiles.stores.access import aread_profile, read_whole_profile

begun = threading.Event()

class HangingStore(InMemoryProfileStore):
    def get(self, user_id):
        begun.set()
        time.sleep(200)

    def user_ids(self):
        return self.get("ann")

store = HangingStore()
"""


def test_the_interpreter_exits_while_reads_hang():
    code, printed, errors, seconds = run_script(
        f"""{HANGING_STORE}
async def main():
    reads = [store.aget("ann"), store.auser_ids(), aread_profile(store, "bob")]
    done, pending = await asyncio.wait(map(asyncio.ensure_future, reads), timeout=0.5)
    print(len(pending), begun.is_set())
asyncio.run(main())
for user_id in ("cyd", "dan"):  # as the wrappers look users up, in calls that have a timeout
    work, deadline = partial(read_whole_profile, store, user_id), Deadline(0.2)
    try:
        if user_id == "cyd":
            REQUEST_THREADS.run(work, deadline=deadline, user_id=user_id)
        asyncio.run(REQUEST_THREADS.arun(work, deadline=deadline, user_id=user_id))
    except RequestTimeoutError:
        print("in time")
"""
    )
    assert (code, printed, errors) == (0, "3 True\nin time\nin time\n", "")
    assert seconds < 100  # a read takes 200 s


def test_the_interpreter_exits_when_what_was_written_is_written():
    # Its task is cancelled with the loop, and another user's read hangs.
    code, printed, errors, _ = run_script(
        f"""{HANGING_STORE}
class SlowStore(HangingStore):
    def save(self, profile):
        begun.set()
        time.sleep(1)
        print("saved", flush=True)
        return profile

async def main():
    from amulet_integrations import PreferenceProfile
    saving = asyncio.ensure_future(SlowStore().asave(PreferenceProfile(user_id="ann")))
    reading = asyncio.ensure_future(store.aget("bob"))
    await asyncio.to_thread(begun.wait)
asyncio.run(main())
"""
    )
    assert (code, printed, errors) == (0, "saved\n", "")
