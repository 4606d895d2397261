"""Properties that are computed once: no object waits for another one."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import pytest

from amulet_integrations.concurrency.cached_property import cached_property
from amulet_integrations.personalization.personalizer import Personalizer


@dataclass(frozen=True)
class Squares:
    """Counts how often something is computed."""

    of: int
    computed: list[int]

    @cached_property
    def square(self) -> int:
        """The square."""
        self.computed.append(self.of)
        if self.of < 0:
            raise ValueError(self.of)
        return self.of**2


def test_a_property_is_computed_once_for_each_object():
    computed = []
    for squares in (Squares(2, computed), Squares(3, computed)):
        assert [squares.square, squares.square] == [squares.of**2] * 2
    assert computed == [2, 3]
    assert isinstance(Squares.square, cached_property)


def test_what_failed_is_computed_anew():
    squares = Squares(-1, [])
    for _ in range(2):
        with pytest.raises(ValueError, match="-1"):
            _ = squares.square
    assert squares.computed == [-1, -1]


def test_a_call_does_not_wait_for_the_engine_of_another_model():
    loading, go = threading.Event(), threading.Event()

    def load():
        loading.set()
        assert go.wait(20)
        return "slow"

    slow, quick = Personalizer(load), Personalizer(lambda: "quick")
    first = threading.Thread(target=lambda: slow.engine)
    first.start()
    assert loading.wait(20)
    found = []
    other = threading.Thread(target=lambda: found.append(quick.engine))
    other.start()
    other.join(15)
    try:
        assert found == ["quick"]
    finally:
        go.set()
        first.join(20)
        other.join(20)
    assert slow.engine == "slow"
