"""Subscribers learn of the changes at their place, as long as they live."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor

from amulet_integrations.profiles.stores import invalidation
from amulet_integrations.profiles.stores.invalidation import publish_change, subscribe


class Subscriber:
    def __init__(self, *places: str) -> None:
        self.received: list[str] = []
        for place in places:
            subscribe(place, self.receive)

    def receive(self, user_id: str) -> None:
        self.received.append(user_id)


def test_only_the_subscribers_of_a_place_learn_of_a_change() -> None:
    one, other, elsewhere = (
        Subscriber("test:a"),
        Subscriber("test:a", "test:b"),
        Subscriber("test:c"),
    )
    publish_change("test:a", "ann")
    publish_change("test:b", "bob")
    publish_change("test:nowhere", "eve")
    assert (one.received, other.received, elsewhere.received) == (["ann"], ["ann", "bob"], [])


def test_a_function_is_subscribed_as_long_as_it_is_held() -> None:
    received: list[str] = []

    def receive(user_id: str) -> None:
        received.append(user_id)

    subscribe("test:function", receive)
    publish_change("test:function", "ann")
    del receive
    gc.collect()
    publish_change("test:function", "bob")
    assert received == ["ann"]


def test_subscribers_that_are_gone_leave_nothing_behind() -> None:
    for number in range(50):
        Subscriber(f"test:gone {number}", "test:kept")
    gc.collect()
    kept = Subscriber("test:kept")
    publish_change("test:kept", "ann")
    assert kept.received == ["ann"]
    assert len(invalidation._subscribers["test:kept"]) == 1
    assert not [place for place in invalidation._subscribers if place.startswith("test:gone")]


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
