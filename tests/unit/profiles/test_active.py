from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amulet_integrations.errors import InvalidProfileError
from amulet_integrations.profiles import Preference, PreferenceProfile, active_preferences
from amulet_integrations.profiles.active import explain
from amulet_integrations.profiles.inheritance import inherited

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def test_preferences_without_limits_are_always_active_and_in_order():
    preferences = [Preference(text="One."), Preference(text="Two.", weight=-0.5)]
    assert active_preferences(preferences, NOON) == tuple(preferences)


def test_no_preferences_none_active():
    assert active_preferences((), NOON) == ()


@pytest.mark.parametrize(
    ("after_noon", "expected"),
    [(-SECOND, False), (0 * SECOND, True), (59 * SECOND, True), (60 * SECOND, False)],
)
def test_a_window_holds_from_its_beginning_until_before_its_end(after_noon, expected):
    preference = Preference(text="One.", valid_from=NOON, valid_until=NOON + 60 * SECOND)
    assert bool(active_preferences([preference], NOON + after_noon)) is expected


def test_a_window_may_be_open_at_either_end():
    since = Preference(text="Since.", valid_from=NOON)
    until = Preference(text="Until.", valid_until=NOON)
    assert active_preferences([since, until], NOON - SECOND) == (until,)
    assert active_preferences([since, until], NOON) == (since,)


def test_moments_in_different_time_zones_are_compared():
    preference = Preference(text="One.", valid_from=NOON)
    tokyo = timezone(timedelta(hours=9))
    assert active_preferences([preference], datetime(2026, 6, 1, 21, tzinfo=tokyo)) == (preference,)
    assert active_preferences([preference], datetime(2026, 6, 1, 20, 59, tzinfo=tokyo)) == ()


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
    assert bool(active_preferences([preference], NOON, context)) is expected


def test_weight_zero_is_not_active():
    on, off = Preference(text="On.", weight=0.01), Preference(text="Off.", weight=0)
    assert active_preferences([on, off], NOON) == (on,)


def test_the_moment_needs_a_time_zone():
    with pytest.raises(InvalidProfileError, match=r"at=2026-06-01T12:00:00 has no time zone"):
        active_preferences([], NOON.replace(tzinfo=None))


def test_every_reason_names_the_value_that_is_responsible():
    line = [
        PreferenceProfile(
            user_id="ann",
            parent="work",
            preferences=[
                Preference(text="One.", name="on"),
                Preference(text="Two.", weight=0.0),
                Preference(text="Three.", valid_from=NOON + SECOND),
                Preference(text="Four.", valid_until=NOON),
                Preference(text="Five.", when={"topic": "health", "locale": "de"}),
            ],
        ),
        PreferenceProfile(user_id="work", preferences=[Preference(text="Six.", name="on")]),
    ]
    found = explain(line, NOON, {"topic": "sport"})
    assert [(it.user_id, it.preference.text, it.reason) for it in found] == [
        ("work", "Six.", "overridden by ann's own on"),
        ("ann", "One.", None),
        ("ann", "Two.", "its weight is 0"),
        ("ann", "Three.", "it holds from 2026-06-01T12:00:01+00:00"),
        ("ann", "Four.", "it held until 2026-06-01T12:00:00+00:00"),
        (
            "ann",
            "Five.",
            (
                "it holds when topic is 'health', and topic is 'sport'; "
                "it holds when locale is 'de', and locale is not given"
            ),
        ),
    ]
    assert [it.holds for it in found] == [False, True, False, False, False, False]


names = st.sampled_from([None, "a", "b"])
instants = st.none() | st.integers(-2, 2).map(lambda hours: NOON + timedelta(hours=hours))


@st.composite
def preferences(draw):
    start, end = draw(instants), draw(instants)
    if start and end and end <= start:
        start = None
    return Preference(
        text=draw(st.sampled_from(["One.", "Two.", "Three."])),
        name=draw(names),
        weight=draw(st.sampled_from([1.0, 0.0, -0.5])),
        valid_from=start,
        valid_until=end,
        when=draw(st.sampled_from([{}, {"topic": "health"}, {"topic": "sport", "locale": "de"}])),
    )


def unnamed_twice(found):
    named = [it.name for it in found if it.name]
    return len(named) == len(set(named))


@st.composite
def lines(draw):
    ids = ["ann", "team", "everyone"][: draw(st.integers(1, 3))]
    return [
        PreferenceProfile(
            user_id=user_id,
            parent=parent,
            preferences=draw(st.lists(preferences(), max_size=3).filter(unnamed_twice)),
        )
        for user_id, parent in zip(ids, [*ids[1:], None], strict=True)
    ]


@given(lines(), st.sampled_from([{}, {"topic": "health"}, {"topic": "sport", "locale": "de"}]))
def test_preferences_that_are_explained_as_active_are_the_active_ones(line, context):
    holding = [it.preference for it in explain(line, NOON, context) if it.holds]
    assert tuple(holding) == active_preferences(inherited(line).preferences, NOON, context)


def slow_active_preferences(line, context):
    """The rules once more, in the order in which the documentation gives them."""
    holding = []
    for height, profile in reversed(list(enumerate(line))):
        for preference in profile.preferences:
            nearer = [it.name for below in line[:height] for it in below.preferences]
            if preference.name is not None and preference.name in nearer:
                continue
            if preference.weight == 0:
                continue
            if preference.valid_from and preference.valid_from > NOON:
                continue
            if preference.valid_until and not preference.valid_until > NOON:
                continue
            if not set(preference.when.items()) <= set(context.items()):
                continue
            holding.append(preference)
    return tuple(holding)


@given(lines(), st.sampled_from([{}, {"topic": "health"}, {"topic": "sport", "locale": "de"}]))
def test_the_rules_are_those_of_a_slow_version(line, context):
    assert active_preferences(
        inherited(line).preferences, NOON, context
    ) == slow_active_preferences(line, context)


def test_a_moment_without_a_time_zone_is_refused_here_too():
    with pytest.raises(InvalidProfileError, match=r"at=2026-06-01T12:00:00 has no time zone"):
        explain([PreferenceProfile(user_id="ann")], NOON.replace(tzinfo=None))


def test_the_former_name_of_a_reason_still_works():
    (verdict,) = explain([PreferenceProfile(user_id="ann", preferences=["One."])], NOON)
    with pytest.warns(DeprecationWarning, match="reason"):
        assert verdict.obstacle is verdict.reason is None
