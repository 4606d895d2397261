"""Explanations over HTTP say what `amulet profile explain --json` says."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from amulet_integrations.cli.app import app as amulet
from amulet_integrations.profiles import Preference, PreferenceProfile, SqlProfileStore

AT = "2027-01-01T00:00:00+01:00"
PREFERENCES = [
    Preference(text="Be brief.", weight=0.5, name="length"),
    Preference(text="Be gentle.", when={"topic": "health"}, kind="style"),
    Preference(text="Switched off.", weight=0.0),
    Preference(text="On holiday.", valid_until="2026-12-31T00:00:00Z"),
]


def on_the_command_line(ann, *options: str) -> dict[str, object]:
    """What the command says."""
    place = ann.store.name
    command = ["profile", "explain", ann.user, "--profiles", place, "--at", AT, "--json", *options]
    found: dict[str, object] = json.loads(CliRunner().invoke(amulet, command).output)
    return found


@pytest.mark.parametrize("context", [{}, {"topic": "health"}, {"topic": "law", "locale": "de"}])
def test_it_says_what_the_command_says(ann, context):
    ann.store.save(PreferenceProfile(user_id=ann.user, preferences=PREFERENCES, preset="strong"))
    options = [f"--about={name}={value}" for name, value in context.items()]
    expected = on_the_command_line(ann, *options)
    expected["at"] = "2026-12-31T23:00:00Z"  # the same moment
    for preference in expected["preferences"]:
        for name in ("valid_from", "valid_until"):
            assert preference[name] is None or preference[name].endswith("Z")
    by_query = ann.client.get(f"{ann.path}/explain", params={"at": AT} | context)
    body = {"at": AT, "preference_context": context}
    by_body = ann.client.post(f"{ann.path}/explain", json=body)
    assert by_query.json() == by_body.json() == expected


def test_a_parent_is_explained_with_the_user(make_client, tmp_path, monkeypatch):
    monkeypatch.setenv("AMULET_PROFILE_PARENTS", "team,everyone")
    place = tmp_path / "profiles.db"
    with SqlProfileStore(place) as store:
        theirs = [Preference(text="Long.", name="length"), Preference(text="Formal.")]
        store.save(PreferenceProfile(user_id="team", preferences=theirs, parent="everyone"))
        own = [Preference(text="Short.", name="length")]
        store.save(PreferenceProfile(user_id="ann", preferences=own, parent="team"))
    said = make_client(profiles=place).get("/v1/profiles/ann/explain").json()
    assert said["line"] == ["ann", "team"]
    assert said["missing_parent"] == "everyone"
    assert [(it["profile"], it["text"], it["holds"]) for it in said["preferences"]] == [
        ("team", "Long.", False),
        ("team", "Formal.", True),
        ("ann", "Short.", True),
    ]
    assert "overridden" in said["preferences"][0]["reason"]


@pytest.mark.parametrize(
    "query",
    [
        "topic=a&topic=b",
        "preference_context=topic",
        "at=2027-01-01T00:00:00",
        "topic=" + "x" * 257,
        "topic=%00",
        "&".join(f"n{number}=x" for number in range(65)),
    ],
    ids=range(6),
)
def test_what_is_no_context_is_refused(ann, query):
    ann.store.save(PreferenceProfile(user_id=ann.user))
    refused = ann.client.get(f"{ann.path}/explain?{query}")
    assert refused.status_code == 400


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("2027-01-01T00:00:00", "at: 2027-01-01T00:00:00 has no time zone"),
        ("0001-01-01T00:00:00+23:59", "at: 0001-01-01T00:00:00+23:59 is outside the years"),
        ("yesterday", "such as 2027-01-01T00:00Z"),
        ("2027-01-01T00:00 01:00", "such as 2027-01-01T00:00Z"),
        ("2027", "is a number; give a moment with a time zone, such as 2027-01-01T00:00Z"),
    ],
)
def test_what_is_no_moment_is_refused_with_what_to_give(ann, given, said):
    refused = ann.client.get(f"{ann.path}/explain", params={"at": given})
    assert refused.status_code == 400
    assert said in refused.json()["error"]["message"]
    assert refused.json()["error"]["param"] == "at"


@pytest.mark.parametrize("number", [2027, 2027.5, 10**400], ids=["year", "fraction", "huge"])
def test_no_number_is_a_moment(ann, number):
    explained = ann.client.post(f"{ann.path}/explain", json={"at": number})
    preference = {"text": "Be brief.", "valid_from": number}
    put = ann.client.put(ann.path, json={"preferences": [preference]})
    for refused in (explained, put):
        assert refused.status_code == 400
        assert "is a number" in refused.json()["error"]["message"]


def test_who_has_no_profile_has_no_explanation(ann):
    assert ann.client.get(f"{ann.path}/explain").status_code == 404
    assert ann.client.post(f"{ann.path}/explain", json={}).status_code == 404
