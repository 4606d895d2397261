"""Subscribers learn of the changes at their place, as long as they live."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor

from amulet_integrations.profiles.stores import invalidation
from amulet_integrations.profiles.stores.invalidation import publish_change, subscribe


class Subscriber:
    def __init__(self, place: str) -> None:
        self.place = place
        self.received: list[str] = []
        subscribe(self)

    def forget(self, user_id: str) -> None:
        self.received.append(user_id)


def test_only_the_subscribers_of_a_place_learn_of_a_change() -> None:
    one, same, other = Subscriber("test:a"), Subscriber("test:a"), Subscriber("test:b")
    elsewhere = Subscriber("test:c")
    publish_change("test:a", "ann")
    publish_change("test:b", "bob")
    publish_change("test:nowhere", "eve")
    assert (one.received, same.received, other.received) == (["ann"], ["ann"], ["bob"])
    assert elsewhere.received == []


def test_subscribers_that_are_gone_leave_nothing_behind() -> None:
    for _ in range(50):
        Subscriber("test:kept")
    gc.collect()
    kept = Subscriber("test:kept")
    publish_change("test:kept", "ann")
    assert kept.received == ["ann"]
    caches = [reference() for reference in invalidation._caches]
    assert None not in caches
    assert len([it for it in caches if it.place == "test:kept"]) == 1


def test_threads_may_subscribe_and_publish_at_once() -> None:
    steady = Subscriber("test:threads")

    def live(number: int) -> None:
        for _ in range(200):
            passing = Subscriber("test:threads")
            publish_change("test:threads", f"user-{number}")
            assert f"user-{number}" in passing.received

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(live, range(4)))
    assert len(steady.received) == 800
