"""Errors of our value objects: readable, ours, and discreet."""

from __future__ import annotations

import pickle

import pytest

from amulet_integrations import AmuletParams, Preference, PreferenceProfile, SamplingParams
from amulet_integrations.errors import AmuletError, InvalidParamsError


def test_all_faults_are_told_in_one_line():
    with pytest.raises(InvalidParamsError) as caught:
        AmuletParams(alpha="x", iterations=-1)
    message = str(caught.value)
    assert "\n" not in message
    assert "alpha='x'" in message
    assert "iterations=-1" in message


def test_long_values_are_cut_but_not_lost():
    with pytest.raises(InvalidParamsError, match=r"'yyyyyyyyyy.*\.\.\.") as caught:
        SamplingParams(temperature="y" * 5000)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("values", [{"tezt": "my secret"}, {"tezt": "my secret", "weight": 9}])
def test_the_value_under_a_misspelt_name_is_not_told(values):
    with pytest.raises(AmuletError) as caught:
        Preference(**values)
    assert "tezt" in str(caught.value)
    assert "my secret" not in str(caught.value)


def test_nested_values_name_their_place():
    with pytest.raises(InvalidParamsError, match="eta=0"):
        PreferenceProfile(user_id="ann", params={"eta": 0})


@pytest.mark.parametrize(
    ("make", "param"),
    [
        (lambda: AmuletParams(iterations=-1), "iterations"),
        (lambda: AmuletParams(alpha="x", iterations=-1), "alpha"),
        (lambda: Preference(text="x", wieght=1), "wieght"),
        (lambda: PreferenceProfile(user_id="ann", params={"eta": 0}), "params.eta"),
        (lambda: PreferenceProfile(user_id="ann", preferences=["a", " "]), "preferences[1].text"),
        (
            lambda: PreferenceProfile(user_id="ann", preferences=["a", {"text": "b", "weight": 9}]),
            "preferences[1].weight",
        ),
        (lambda: PreferenceProfile(user_id="ann", preferences=["a", 3]), "preferences[1]"),
        (lambda: PreferenceProfile(user_id="ann", parent="ann"), None),
    ],
)
def test_an_error_has_the_field_that_is_wrong(make, param):
    with pytest.raises(AmuletError) as caught:
        make()
    assert caught.value.param == param
    assert pickle.loads(pickle.dumps(caught.value)).param == param  # noqa: S301 - its own


def test_reading_json_raises_our_errors_too():
    for read in (
        AmuletParams.model_validate_json,
        lambda text: AmuletParams.model_validate({"eta": 0}),
    ):
        with pytest.raises(InvalidParamsError, match="eta=0"):
            read('{"eta": 0}')
