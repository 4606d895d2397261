"""What is private is told by no error, not even in its traceback."""

from __future__ import annotations

import traceback

import pytest

from amulet_integrations import Preference, PreferenceProfile, preference_scope
from amulet_integrations.client import AmuletClient
from amulet_integrations.errors import AmuletError
from amulet_integrations.personalization.user_resolution import PreferenceSelection

SECRET = "my secret illness"
URL = "mysql://ann:PASSW0RD@db/profiles"


def settings(tiny_engine, **values):
    return AmuletClient(engine=tiny_engine, **values)


@pytest.mark.parametrize(
    "values",
    [
        {"profiles": URL, "max_tokens": 0},
        {"profiles": [URL]},
        {"preference": SECRET, "user_id": "ann"},
        {"preference": [SECRET]},
        {"preference": SECRET + "\0"},
        {"profile": SECRET},
        {"profile": {"user_id": "ann", "preferences": [SECRET, 5]}},
        {"preference": SECRET, "temperature": "warm"},
        {"prefrence": SECRET, "temperature": "warm"},
    ],
    ids=str,
)
def test_constructors_and_calls(tiny_engine, values):
    with pytest.raises(AmuletError) as caught:
        settings(tiny_engine, **values)
    told = ["".join(traceback.format_exception(caught.value, chain=True)), repr(caught.value)]
    if "profiles" not in values:
        with pytest.raises(AmuletError) as caught:
            settings(tiny_engine).read_call(values)
        told.append("".join(traceback.format_exception(caught.value)))
    for text in told:
        # The lines of this file are in a traceback too; its data is not.
        assert SECRET not in text
        assert "PASSW0RD" not in text


@pytest.mark.parametrize(
    "make",
    [
        lambda: Preference(text=SECRET, weight=9),
        lambda: Preference(text=[SECRET]),
        lambda: PreferenceProfile(user_id="", preferences=[SECRET]),
        lambda: PreferenceProfile(user_id="ann", preferences=[{"text": SECRET, "weight": 9}]),
        lambda: PreferenceSelection(preference=SECRET, user_id="ann"),
        lambda: preference_scope(preference=SECRET, user_id="ann"),
        lambda: PreferenceProfile.model_validate_json(
            f'{{"user_id": 3, "preferences": "{SECRET}"}}'
        ),
    ],
)
def test_values(make):
    with pytest.raises(AmuletError) as caught:
        make()
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_messages_name_fields_and_no_branches_of_unions(tiny_engine):
    with pytest.raises(AmuletError) as caught:
        settings(tiny_engine, profiles=[3])
    assert str(caught.value).startswith("profiles is a list: ")
    assert "function-after" not in str(caught.value)
    assert "; " not in str(caught.value)
