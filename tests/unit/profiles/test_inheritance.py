"""Profiles that build on others: what holds, and what is refused."""

from __future__ import annotations

import pytest

from amulet_integrations import AmuletParams, InMemoryProfileStore, Preference, PreferenceProfile
from amulet_integrations.decoding.strength import PRESETS, Strength
from amulet_integrations.errors import InvalidProfileError
from amulet_integrations.profiles.inheritance import LONGEST_LINE, inherited, line_of
from amulet_integrations.profiles.stores.access import aread_whole_profile, read_whole_profile

pytestmark = pytest.mark.usefixtures("shared_parents")

EVERYONE = PreferenceProfile(
    user_id="everyone",
    preferences=[
        Preference(text="Be polite.", name="tone"),
        Preference(text="Use the metric system.", name="units"),
        "Never give medical advice.",
    ],
    params=AmuletParams(iterations=2),
    method="linear_alignment",
)
TEAM = PreferenceProfile(
    user_id="team",
    parent="everyone",
    preferences=[Preference(text="Be formal.", name="tone"), Preference(text="Cite sources.")],
    method="amulet",
)
ANN = PreferenceProfile(
    user_id="ann",
    parent="team",
    preferences=[Preference(text="Be brief.", name="length"), Preference(text="Ha!", name="units")],
)


@pytest.fixture
def store():
    return InMemoryProfileStore([EVERYONE, TEAM, ANN])


def texts(profile):
    return [preference.text for preference in profile.preferences]


def test_what_is_further_up_comes_first_and_a_nearer_name_takes_its_place(store):
    assert texts(read_whole_profile(store, "ann")) == [
        "Never give medical advice.",
        "Be formal.",
        "Cite sources.",
        "Be brief.",
        "Ha!",
    ]


def test_method_and_parameters_are_the_nearest_ones_given(store):
    whole = read_whole_profile(store, "ann")
    assert (whole.method, whole.strength) == ("amulet", EVERYONE.strength)
    assert (whole.user_id, whole.version, whole.parent) == ("ann", 1, None)


def test_strength_and_bound_are_each_inherited_from_the_nearest_profile_that_gives_it(store):
    for own, whole in [
        ({}, {"params": EVERYONE.params, "max_kl": 0.3}),
        ({"max_kl": None}, {"params": EVERYONE.params, "max_kl": None}),
        ({"guidance_scale": 1.5}, {"guidance_scale": 1.5, "max_kl": 0.3}),
        ({"preset": "strong"}, {"preset": "strong", "max_kl": PRESETS["strong"].max_kl}),
        ({"preset": "paper", "max_kl": 0.1}, {"preset": "paper", "max_kl": 0.1}),
    ]:
        store.save(TEAM.model_copy(update={"max_kl": 0.3}))
        store.save(ANN.model_copy(update=own))
        assert read_whole_profile(store, "ann").strength == Strength(**whole)


async def test_async_reading_gives_the_same(store):
    for user_id in ("ann", "team", "everyone", "bob"):
        assert await aread_whole_profile(store, user_id) == read_whole_profile(store, user_id)


def test_a_parent_that_is_not_stored_adds_nothing(store):
    store.delete("everyone")
    assert texts(read_whole_profile(store, "ann")) == [
        "Be formal.",
        "Cite sources.",
        "Be brief.",
        "Ha!",
    ]


def test_a_name_overrides_even_while_its_own_conditions_are_not_met():
    child = PreferenceProfile(
        user_id="ann",
        parent="everyone",
        preferences=[Preference(text="Be gentle.", name="tone", when={"topic": "health"})],
    )
    assert "Be polite." not in texts(inherited([child, EVERYONE]))


def test_weight_zero_switches_an_inherited_preference_off():
    off = Preference(text="No tone.", name="tone", weight=0.0)
    child = PreferenceProfile(user_id="ann", parent="everyone", preferences=[off])
    assert "Be polite." not in texts(inherited([child, EVERYONE]))


def test_a_profile_without_a_parent_stays_what_it_is():
    assert inherited([EVERYONE]) is EVERYONE


def test_a_profile_is_not_its_own_parent():
    with pytest.raises(InvalidProfileError, match="parent='ann' is the profile itself"):
        PreferenceProfile(user_id="ann", parent="ann")


@pytest.mark.parametrize("parent", ["", "x" * 257, "a\x00b", 7])
def test_impossible_parents_are_refused(parent):
    with pytest.raises(InvalidProfileError, match="parent"):
        PreferenceProfile(user_id="ann", parent=parent)


def test_a_circle_is_refused_with_its_members(store):
    stored = store.get("everyone")
    with pytest.raises(InvalidProfileError, match="'everyone' -> 'ann' -> 'team' -> 'everyone'"):
        store.save(stored.model_copy(update={"parent": "ann"}))
    assert store.get("everyone") == stored


def test_a_circle_that_two_writers_closed_is_refused_when_it_is_read():
    circle = {
        "ann": PreferenceProfile(user_id="ann", parent="bob"),
        "bob": PreferenceProfile(user_id="bob", parent="ann"),
    }
    with pytest.raises(InvalidProfileError, match="'ann' -> 'bob' -> 'ann'"):
        line_of(circle["ann"], circle.get)


def test_a_line_may_have_eight_profiles_and_no_more():
    ids = [f"p{number}" for number in range(LONGEST_LINE + 1)]
    profiles = {
        user_id: PreferenceProfile(user_id=user_id, parent=parent)
        for user_id, parent in zip(ids, [*ids[1:], None], strict=True)
    }
    assert len(line_of(profiles["p1"], profiles.get)) == LONGEST_LINE
    with pytest.raises(InvalidProfileError, match="parent='p8' makes a line of more than 8"):
        line_of(profiles["p0"], profiles.get)


def test_errors_and_reprs_show_no_text():
    with pytest.raises(InvalidProfileError) as caught:
        line_of(ANN, {"team": TEAM.model_copy(update={"parent": "ann"})}.get)
    assert "formal" not in str(caught.value)
