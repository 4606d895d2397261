"""Profiles as a file: with any store, checked before anything is stored, telling no text."""

from __future__ import annotations

import json
import traceback
from datetime import UTC, datetime

import pytest

from amulet_integrations.decoding.guidance import AmuletParams
from amulet_integrations.errors import InvalidProfileError
from amulet_integrations.profiles import InMemoryProfileStore, Preference, PreferenceProfile
from amulet_integrations.profiles.stores.transfer import export_profiles, import_profiles

pytestmark = pytest.mark.usefixtures("shared_parents")

SECRET = "I am recovering: slowly; from an illness"
ANN = PreferenceProfile(
    user_id="ann",
    preferences=[
        Preference(
            text=SECRET,
            name="health",
            weight=-1 / 3,
            valid_from=datetime(2026, 1, 1, tzinfo=UTC),
            when={"task": "email"},
        ),
        "Be brief.",
    ],
    params=AmuletParams(alpha=0.1 + 0.2),
    max_kl=None,
    method="pref",
    parent="org",
)
ORG = PreferenceProfile(user_id="org", preferences=["Be kind."])


def file_of(*profiles, **changes):
    whole = {"format": "amulet-profiles", "format_version": 1, "profiles": list(profiles)}
    return json.dumps({**whole, **changes})


def contents(profile):
    return profile.model_dump(exclude={"version", "updated_at"})


def test_the_format_is_pinned():
    store = InMemoryProfileStore([ANN])
    file = json.loads(export_profiles(store))
    assert list(file) == ["format", "format_version", "exported_at", "profiles"]
    assert (file["format"], file["format_version"]) == ("amulet-profiles", 1)
    assert datetime.fromisoformat(file["exported_at"]).utcoffset().total_seconds() == 0
    stored = store.get("ann")
    assert file["profiles"] == [
        {
            "user_id": "ann",
            "preferences": [
                {
                    "text": SECRET,
                    "weight": -1 / 3,
                    "name": "health",
                    "valid_from": "2026-01-01T00:00:00Z",
                    "valid_until": None,
                    "when": {"task": "email"},
                },
                {
                    "text": "Be brief.",
                    "weight": 1.0,
                    "name": None,
                    "valid_from": None,
                    "valid_until": None,
                    "when": {},
                },
            ],
            "guidance_scale": None,
            "params": {"alpha": 0.1 + 0.2, "lambda_": 2.0, "eta": 10.0, "iterations": 60},
            "preset": None,
            "max_kl": None,
            "method": "pref",
            "parent": "org",
            "version": 1,
            "updated_at": stored.updated_at.isoformat().replace("+00:00", "Z"),
        }
    ]


def test_profiles_go_from_any_store_to_any_store():
    source, target = InMemoryProfileStore([ANN, ORG]), InMemoryProfileStore([ORG])
    stored = import_profiles(target, export_profiles(source))
    assert [(one.user_id, one.version) for one in stored] == [("ann", 1), ("org", 2)]
    assert [contents(one) for one in stored] == [contents(ANN), contents(ORG)]
    assert target.get("ann") == stored[0]


def test_letters_are_written_as_they_are():
    store = InMemoryProfileStore([PreferenceProfile(user_id="älice", preferences=["日本語 🙂"])])
    assert "日本語 🙂" in export_profiles(store)


def test_some_users_only():
    store = InMemoryProfileStore([ANN, ORG])
    file = json.loads(export_profiles(store, ["org", "org"]))
    assert [one["user_id"] for one in file["profiles"]] == ["org"]
    assert json.loads(export_profiles(store, []))["profiles"] == []


@pytest.mark.parametrize("user_ids", ["ann", ["nobody"], [""], [5]])
def test_impossible_users_are_refused(user_ids):
    with pytest.raises(InvalidProfileError, match="user_id"):
        export_profiles(InMemoryProfileStore([ANN]), user_ids)


def test_a_short_file_that_a_person_may_write():
    text = file_of({"user_id": "ann", "preferences": ["Be brief.", {"text": "Be kind."}]})
    (stored,) = import_profiles(InMemoryProfileStore(), text)
    assert [one.text for one in stored.preferences] == ["Be brief.", "Be kind."]
    assert import_profiles(InMemoryProfileStore(), file_of()) == []


def test_a_history_in_the_file_is_ignored():
    store = InMemoryProfileStore()
    assert len(import_profiles(store, file_of({"user_id": "a"}, history=[{"any": "thing"}]))) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no JSON"),
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        (file_of().replace("[]", "NaN"), "no JSON"),
        ("[]", "a list; give an object"),
        (None, "missing or null; give a string"),
        (b"{}", "a bytes; give a string"),
        ("{}", "format=None"),
        (file_of(format="other"), "format='other' cannot be imported.*format='amulet-profiles'"),
        (file_of(format_version=2), "format_version=2 cannot be imported.*format_version=1"),
        (file_of(format_version=True), "format_version=True"),
        (file_of(format_version=1.0), r"format_version=1\.0"),
        (file_of(more=1), "'more' is no field"),
        (file_of(profiles=None), "profiles is missing or null"),
        (file_of(profiles={}), "profiles is an object; give a list"),
        (file_of({"user_id": "a"}, {"user_id": "a"}), r"profiles\[1\]\.user_id='a'.*profiles\[0\]"),
    ],
)
def test_files_of_another_format_are_refused(text, message):
    store = InMemoryProfileStore([ORG])
    with pytest.raises(InvalidProfileError, match=message):
        import_profiles(store, text)
    assert store.user_ids() == ["org"]


GOOD = {"text": "Be brief."}


@pytest.mark.parametrize(
    ("profile", "place"),
    [
        (SECRET, "profiles[1] is a string"),
        ({}, "profiles[1]: user_id is missing"),
        ({"user_id": 5}, "profiles[1].user_id"),
        ({"user_id": ""}, "profiles[1].user_id"),
        ({"user_id": "a", "preferences": SECRET}, "profiles[1].preferences is a string"),
        ({"user_id": "a", "preferences": [5]}, "profiles[1].preferences[0] is a number"),
        ({"user_id": "a", "preferences": [GOOD, {"text": SECRET, "weight": 9}]},
         "profiles[1].preferences[1].weight=9"),
        ({"user_id": "a", "preferences": [{"text": "x", "weight": SECRET}]},
         "profiles[1].preferences[0].weight is a string"),
        ({"user_id": "a", "preferences": [{"text": "x", "weight": [SECRET]}]},
         "profiles[1].preferences[0].weight is a list"),
        ({"user_id": "a", "preferences": [{"text": [SECRET]}]},
         "profiles[1].preferences[0].text is a list"),
        ({"user_id": "a", "preferences": [{"text": SECRET + "\0"}]},
         "profiles[1].preferences[0].text"),
        ({"user_id": "a", "preferences": [{"text": ""}]}, "profiles[1].preferences[0].text"),
        ({"user_id": "a", "preferences": [""]}, "profiles[1].preferences[0].text"),
        ({"user_id": "a", "preferences": [{"weight": 1}]},
         "profiles[1].preferences[0]: text is missing"),
        ({"user_id": "a", "preferences": [{"text": "x", "name": SECRET + "\n"}]},
         "profiles[1].preferences[0].name"),
        ({"user_id": "a", "preferences": [{"text": "x", "valid_from": SECRET}]},
         "profiles[1].preferences[0].valid_from is a string"),
        ({"user_id": "a", "preferences": [{"text": "x", "valid_from": "2026-01-01T00:00:00"}]},
         "profiles[1].preferences[0].valid_from is a string"),
        ({"user_id": "a", "preferences": [{"text": "x", "when": {"task": [SECRET]}}]},
         "profiles[1].preferences[0].when is an object"),
        ({"user_id": "a", "preferences": [{"text": "x", "wieght": SECRET}]},
         "profiles[1].preferences[0]: Preference does not take 'wieght'"),
        ({"user_id": "a", "preferences": [
            {**GOOD, "valid_from": "2027-01-01T00:00:00Z", "valid_until": "2026-01-01T00:00:00Z"}]},
         "profiles[1].preferences[0]: valid_until="),
        ({"user_id": "a", "preferences": [{**GOOD, "name": "n"}, {"text": SECRET, "name": "n"}]},
         "profiles[1].preferences"),
        ({"user_id": "a", "params": {"iterations": -1}}, "profiles[1].params.iterations=-1"),
        ({"user_id": "a", "params": SECRET}, "profiles[1].params is a string"),
        ({"user_id": "a", "method": SECRET}, "profiles[1].method is a string"),
        ({"user_id": "a", "parent": "a"}, "profiles[1]: parent='a' is the profile itself"),
        ({"user_id": "a", "version": -1}, "profiles[1].version=-1"),
        ({"user_id": "a", "colour": SECRET}, "profiles[1]: PreferenceProfile does not take"),
    ],
)  # fmt: skip
def test_errors_name_the_place_and_quote_no_text(profile, place):
    store = InMemoryProfileStore()
    with pytest.raises(InvalidProfileError) as caught:
        import_profiles(store, file_of({"user_id": "first"}, profile))
    assert str(caught.value).startswith(place)
    shown = "".join(traceback.format_exception(caught.value, chain=True))
    assert "recovering" not in shown
    assert store.user_ids() == []


def test_circles_between_the_profiles_of_a_file_are_refused_before_anything_is_stored():
    store = InMemoryProfileStore([PreferenceProfile(user_id="c", parent="a")])
    text = file_of(
        {"user_id": "x"}, {"user_id": "a", "parent": "b"}, {"user_id": "b", "parent": "c"}
    )
    with pytest.raises(InvalidProfileError, match="circle"):
        import_profiles(store, text)
    assert store.user_ids() == ["c"]


def test_parents_may_change_places():
    store = InMemoryProfileStore([PreferenceProfile(user_id="b", parent="a")])
    stored = import_profiles(store, file_of({"user_id": "a", "parent": "b"}, {"user_id": "b"}))
    assert [(one.user_id, one.parent) for one in stored] == [("a", "b"), ("b", None)]
