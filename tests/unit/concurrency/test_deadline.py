"""Deadlines: of a call, and of the requests that are parts of it."""

from __future__ import annotations

from amulet_integrations.concurrency.deadline import Deadline


def test_a_part_ends_with_its_call_and_not_the_other_way_round():
    call = Deadline(60)
    one, other = call.part(), call.part()
    one.cancel()
    assert (one.is_cancelled, other.is_cancelled, call.is_cancelled) == (True, False, False)
    assert 59 < other.remaining <= 60
    call.cancel()
    assert other.is_cancelled
    assert Deadline(1e-9).part().is_over
