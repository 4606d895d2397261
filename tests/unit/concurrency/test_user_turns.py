"""Turns: users get one after the other, whoever has the most to do."""

from __future__ import annotations

import threading
import time
from contextvars import copy_context
from functools import partial

import pytest

from amulet_integrations.concurrency.deadline import Deadline
from amulet_integrations.concurrency.thread_groups import join_group
from amulet_integrations.concurrency.user_turns import UserTurns
from amulet_integrations.errors import RequestTimeoutError


class Line:
    """Threads that wait for turns, and the order in which they get them."""

    def __init__(self):
        self.turns, self.taken = UserTurns(), []
        self._threads = []

    def join(self, name, user_id=None, *, then=lambda: None, **options):
        """Begins to wait, behind those that wait already; the turn lasts until `then` returns."""

        def wait():
            with self.turns.take(lambda: None, user_id, **options):
                self.taken.append(name)
                then()

        count = self._count_waiting()
        self._threads.append(threading.Thread(target=partial(copy_context().run, wait)))
        self._threads[-1].start()
        end = time.monotonic() + 20
        while self._count_waiting() == count and time.monotonic() < end:
            time.sleep(0.001)

    def _count_waiting(self):
        return sum(map(len, self.turns._waiting.values()))

    def finish(self):
        for thread in self._threads:
            thread.join(20)
        return self.taken


def test_users_take_turns_however_many_they_wait_for():
    line = Line()
    with line.turns.take(lambda: None, "mallory"):
        for number in range(4):
            line.join(f"m{number}", "mallory")
        line.join("ann", "ann")
        line.join("nobody")
        line.join("nobody again")
        line.join("ann again", "ann")
    first, second, rest = ["m0", "ann", "nobody"], ["m1", "ann again", "nobody again"], ["m2", "m3"]
    assert line.finish() == [*first, *second, *rest]


def test_groups_take_turns_however_many_users_they_name():
    line = Line()

    def join(group, *users):
        join_group(group)
        for user in users:
            line.join(user, user)

    with line.turns.take(lambda: None):
        copy_context().run(join, "mallory's", "m0", "m1", "m2")
        copy_context().run(join, "web", "ann", "bob")
        line.join("eve", "eve")
    assert line.finish() == ["m0", "ann", "eve", "m1", "bob", "m2"]
    assert not line.turns._groups


def test_new_work_does_not_pass_by_a_user_who_waits_for_a_second_turn():
    line = Line()
    with line.turns.take(lambda: None):
        line.join("ann", "ann")
        line.join("ann again", "ann")
        line.join("bob", "bob", then=partial(line.join, "bob again", "bob"))
    assert line.finish() == ["ann", "bob", "ann again", "bob again"]


def test_work_that_had_fewer_turns_goes_first():
    line = Line()
    with line.turns.take(lambda: None):
        line.join("long", taken_before=9)
        line.join("short", "ann", taken_before=1)
    assert line.finish() == ["short", "long"]


def test_whoever_gives_up_loses_no_later_turn():
    line = Line()
    with line.turns.take(lambda: None, "mallory"):
        line.join("ann", "ann")
        for _ in range(9):
            check = partial(Deadline(1e-9).check, "while it waited")
            with pytest.raises(RequestTimeoutError), line.turns.take(check, "ann"):
                pass
        for name in ("ann again", "bob", "bob again"):
            line.join(name, name.partition(" ")[0])
    assert line.finish() == ["ann", "bob", "ann again", "bob again"]
    assert not line.turns._waiting
