"""Listeners are told what happens at their place, as long as they live."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor

from amulet_integrations.profiles.stores import invalidation as announcements
from amulet_integrations.profiles.stores.invalidation import announce, listen


class Hearing:
    def __init__(self, *places: str) -> None:
        self.heard: list[str] = []
        for place in places:
            listen(place, self.hear)

    def hear(self, user_id: str) -> None:
        self.heard.append(user_id)


def test_all_who_listen_to_a_place_are_told_and_nobody_else() -> None:
    one, other, elsewhere = Hearing("test:a"), Hearing("test:a", "test:b"), Hearing("test:c")
    announce("test:a", "ann")
    announce("test:b", "bob")
    announce("test:nowhere", "eve")
    assert (one.heard, other.heard, elsewhere.heard) == (["ann"], ["ann", "bob"], [])


def test_a_function_listens_as_long_as_it_is_held() -> None:
    heard: list[str] = []

    def hear(user_id: str) -> None:
        heard.append(user_id)

    listen("test:function", hear)
    announce("test:function", "ann")
    del hear
    gc.collect()
    announce("test:function", "bob")
    assert heard == ["ann"]


def test_those_that_are_gone_leave_nothing_behind() -> None:
    for number in range(50):
        Hearing(f"test:gone {number}", "test:kept")
    gc.collect()
    kept = Hearing("test:kept")
    announce("test:kept", "ann")
    assert kept.heard == ["ann"]
    assert len(announcements._listeners["test:kept"]) == 1
    assert not [place for place in announcements._listeners if place.startswith("test:gone")]


def test_threads_may_listen_and_announce_at_once() -> None:
    steady = Hearing("test:threads")

    def live(number: int) -> None:
        for _ in range(200):
            passing = Hearing("test:threads")
            announce("test:threads", f"user-{number}")
            assert f"user-{number}" in passing.heard

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(live, range(4)))
    assert len(steady.heard) == 800
