from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from amulet_integrations.errors import InvalidProfileError
from amulet_integrations.profiles import Preference, in_force

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def test_preferences_without_limits_are_always_in_force_and_in_order():
    preferences = [Preference(text="One."), Preference(text="Two.", weight=-0.5)]
    assert in_force(preferences, NOON) == tuple(preferences)


def test_no_preferences_none_in_force():
    assert in_force((), NOON) == ()


@pytest.mark.parametrize(
    ("after_noon", "expected"),
    [(-SECOND, False), (0 * SECOND, True), (59 * SECOND, True), (60 * SECOND, False)],
)
def test_a_window_holds_from_its_beginning_until_before_its_end(after_noon, expected):
    preference = Preference(text="One.", valid_from=NOON, valid_until=NOON + 60 * SECOND)
    assert bool(in_force([preference], NOON + after_noon)) is expected


def test_a_window_may_be_open_at_either_end():
    since = Preference(text="Since.", valid_from=NOON)
    until = Preference(text="Until.", valid_until=NOON)
    assert in_force([since, until], NOON - SECOND) == (until,)
    assert in_force([since, until], NOON) == (since,)


def test_time_zones_are_compared_as_instants():
    preference = Preference(text="One.", valid_from=NOON)
    tokyo = timezone(timedelta(hours=9))
    assert in_force([preference], datetime(2026, 6, 1, 21, tzinfo=tokyo)) == (preference,)
    assert in_force([preference], datetime(2026, 6, 1, 20, 59, tzinfo=tokyo)) == ()


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ({}, False),
        ({"task": "email"}, False),
        ({"task": "email", "to": "bob"}, True),
        ({"task": "email", "to": "bob", "more": "x"}, True),
        ({"task": "email", "to": "Bob"}, False),
    ],
)
def test_every_condition_must_be_met(context, expected):
    preference = Preference(text="One.", when={"task": "email", "to": "bob"})
    assert bool(in_force([preference], NOON, context)) is expected


def test_weight_zero_is_not_in_force():
    on, off = Preference(text="On.", weight=0.01), Preference(text="Off.", weight=0)
    assert in_force([on, off], NOON) == (on,)


def test_the_moment_needs_a_time_zone():
    with pytest.raises(InvalidProfileError, match=r"at=2026-06-01T12:00:00 has no time zone"):
        in_force([], NOON.replace(tzinfo=None))
