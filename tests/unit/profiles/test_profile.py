from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amulet_integrations.decoding.guidance import AmuletParams
from amulet_integrations.decoding.strength import PRESETS, Strength
from amulet_integrations.errors import (
    AmuletError,
    InvalidParamsError,
    InvalidProfileError,
    UnknownArgumentError,
)
from amulet_integrations.profiles import Preference, PreferenceProfile

PRIVATE = "I am recovering from an illness"


def test_only_the_user_is_needed():
    profile = PreferenceProfile(user_id="ann")
    assert profile.preferences == ()
    assert profile.strength == Strength()
    assert profile.method is None
    assert profile.version == 0
    assert profile.updated_at is None


@pytest.mark.parametrize(
    "given_as",
    [
        ["Be brief."],
        ("Be brief.",),
        "Be brief.",
        Preference(text="Be brief."),
        [Preference(text="Be brief.")],
        [{"text": "Be brief."}],
    ],
)
def test_preferences_may_be_given_in_many_forms(given_as):
    profile = PreferenceProfile(user_id="ann", preferences=given_as)
    assert profile.preferences == (Preference(text="Be brief."),)


def test_params_may_be_given_as_a_dict():
    profile = PreferenceProfile(user_id="ann", params={"alpha": 1.5})
    assert profile.params == AmuletParams(alpha=1.5)


@pytest.mark.parametrize("user_id", ["", " ", "a\tb", "\x00", "\udfff", "x" * 257, None, 7])
def test_bad_user_ids_are_refused(user_id):
    with pytest.raises(InvalidProfileError, match="user_id"):
        PreferenceProfile(user_id=user_id)


@pytest.mark.parametrize(
    "earlier",
    [
        {},
        {"preset": "gentle", "method": "pref"},
        {"params": AmuletParams(iterations=3), "method": "amulet"},
        {"guidance_scale": 1.5, "max_kl": 0.2, "method": "base"},
    ],
    ids=str,
)
@pytest.mark.parametrize("strength", [(3.0, 0.3), (5.65, None), (0.5, "default")])
def test_another_strength_takes_the_place_of_the_whole_old_one(earlier, strength):
    before = PreferenceProfile(user_id="ann", preferences=("Be brief.",), version=3, **earlier)
    after = before.with_strength(*strength)
    assert after == PreferenceProfile(
        user_id="ann",
        preferences=("Be brief.",),
        version=3,
        guidance_scale=strength[0],
        max_kl=strength[1],
        method="amulet" if "method" in earlier else None,
    )
    with pytest.raises(InvalidParamsError, match="guidance_scale"):
        before.with_strength("strong", None)


def test_a_user_must_be_named():
    with pytest.raises(InvalidProfileError, match="user_id is missing"):
        PreferenceProfile()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("preferences", 5, "preferences is a int"),
        ("preferences", {"text": PRIVATE}, "preferences is a dict"),
        ("preferences", [[PRIVATE]], r"preferences\[0\] is a list"),
        ("preferences", ["Be kind.", None], r"preferences\[1\] is a NoneType"),
        ("preferences", [""], "text of a preference is empty"),
        ("preferences", [{"text": PRIVATE, "weight": 7}], "weight=7"),
        ("method", "magic", "method='magic'"),
        ("version", -1, "version=-1"),
        ("version", 1.5, "version=1.5"),
        ("updated_at", datetime(2026, 1, 1), "updated_at.*time zone"),  # noqa: DTZ001 - the fault
        ("updated_at", "soon", "updated_at='soon'"),
    ],
)
def test_bad_values_are_refused_without_showing_texts(field, value, message):
    with pytest.raises(InvalidProfileError, match=message) as caught:
        PreferenceProfile(user_id="ann", **{field: value})
    assert PRIVATE not in str(caught.value)
    assert PRIVATE not in str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("preferences", [{"text": PRIVATE, "wieght": 7}], "did you mean 'weight'"),
        ("params", {"alpha": "much"}, "alpha='much'"),
        ("params", {"lambda_": -1}, "lambda_=-1"),
        ("params", {"alhpa": 1}, "did you mean 'alpha'"),
        ("guidance_scale", "much", "guidance_scale='much'"),
        ("max_kl", -0.1, "max_kl=-0.1"),
        ("preset", "bold", "preset='bold'"),
    ],
)
def test_errors_in_the_parts_of_a_profile_stay_what_they_are(field, value, message):
    with pytest.raises(AmuletError, match=message) as caught:
        PreferenceProfile(user_id="ann", **{field: value})
    assert isinstance(caught.value, ValueError)
    assert PRIVATE not in str(caught.value)


def test_two_preferences_of_one_name_are_refused():
    pair = [Preference(text="Be brief.", name="tone"), Preference(text="Be kind.", name="tone")]
    with pytest.raises(InvalidProfileError, match="named 'tone'"):
        PreferenceProfile(user_id="ann", preferences=pair)


def test_preferences_without_names_may_be_many():
    assert len(PreferenceProfile(user_id="ann", preferences=["One.", "Two."]).preferences) == 2


def test_misspelt_names_are_refused_with_the_right_one():
    with pytest.raises(UnknownArgumentError, match="did you mean 'preferences'"):
        PreferenceProfile(user_id="ann", preference="Be brief.")


def test_reprs_show_no_text():
    profile = PreferenceProfile(
        user_id="ann", preferences=[Preference(text=PRIVATE, name="health", weight=0.5)]
    )
    for shown in (repr(profile), str(profile)):
        assert PRIVATE not in shown
        assert "user_id='ann'" in shown
        assert "name='health'" in shown


def test_bad_json_is_an_error_of_ours():
    with pytest.raises(AmuletError):
        PreferenceProfile.model_validate_json('{"user_id": "ann", "preferences": [')
    with pytest.raises(InvalidProfileError, match="text of a preference is empty"):
        PreferenceProfile.model_validate_json('{"user_id": "ann", "preferences": [{"text": ""}]}')


labels = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=64).filter(
    str.strip
)
finite = st.floats(allow_nan=False, allow_infinity=False)
strengths = st.one_of(
    st.just({}),
    finite.map(lambda scale: {"guidance_scale": scale}),
    st.sampled_from(list(PRESETS)).map(lambda name: {"preset": name}),
    st.builds(
        AmuletParams,
        alpha=finite,
        lambda_=st.floats(0, 1e9),
        eta=st.floats(1e-300, 1e9),
        iterations=st.integers(0, 10_000),
    ).map(lambda params: {"params": params}),
)
profiles = st.builds(
    PreferenceProfile,
    user_id=labels,
    preferences=st.lists(
        st.builds(Preference, text=labels, weight=st.floats(-1, 1), name=st.none() | labels),
        max_size=4,
        unique_by=lambda preference: preference.name or object(),
    ),
    max_kl=st.none() | st.just("default") | st.floats(0, allow_infinity=False),
    method=st.sampled_from([None, "amulet", "linear_alignment", "pref", "base"]),
    version=st.integers(0, 2**63),
    updated_at=st.none() | st.datetimes(timezones=st.just(UTC)),
)


@given(profiles, strengths)
def test_json_holds_a_profile_exactly(profile, strength):
    profile = profile.model_copy(update=strength)
    again = PreferenceProfile.model_validate_json(profile.model_dump_json())
    assert again == profile
    assert hash(again) == hash(profile)
    assert again.model_dump_json() == profile.model_dump_json()
