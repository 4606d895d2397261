"""Reading, writing, patching, listing and erasing, against a store of its own on the same file."""

from __future__ import annotations

import json
import sqlite3

import pytest

from amulet_integrations.personalization.user_resolution import PreferenceSelection
from amulet_integrations.profiles import (
    InMemoryProfileStore,
    Preference,
    PreferenceProfile,
    SqlProfileStore,
)
from amulet_integrations.profiles.stores.sql import queries
from amulet_integrations.profiles.stores.sql.profile_rows import change_of
from amulet_integrations.serving.access.caller import Caller
from amulet_integrations.serving.profile_api.profile_service import ProfileService


def error_of(response) -> dict[str, str | None]:
    assert set(response.json()) == {"error"}
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def test_a_profile_goes_in_and_comes_out_as_it_is_stored(ann):
    sent = {
        "preferences": [
            {"text": "Be brief.", "weight": None, "when": None},
            {"text": "No jargon.", "weight": 0.5, "when": {"a": "b"}},
        ],
        "guidance_scale": 3,
        "max_kl": None,
    }
    made = ann.client.put(ann.path, json=sent)
    stored = ann.store.get(ann.user)
    assert made.status_code == 201
    assert made.headers["location"] == ann.path
    assert made.headers["etag"] == '"1"'
    assert stored.preferences == (
        Preference(text="Be brief."),
        Preference(text="No jargon.", weight=0.5, when={"a": "b"}),
    )
    assert (stored.guidance_scale, stored.max_kl) == (3.0, None)
    read = ann.client.get(ann.path)
    assert read.json() == made.json() == stored.model_dump(mode="json")
    # What was read may be sent back, also where another version is stored by now.
    assert ann.client.put(ann.path, json=read.json()).json()["version"] == 2
    again = ann.client.put(ann.path, json=read.json())
    assert (again.status_code, again.headers["etag"]) == (200, '"3"')
    assert ann.store.get(ann.user).preferences == stored.preferences


def test_what_a_gate_takes_a_preference_for_is_kept(ann):
    sent = {"text": "I sail.", "kind": "topic"}
    made = ann.client.put(ann.path, json={"preferences": [sent, "Be brief."]})
    assert made.is_success, made.text
    found = ann.client.get(ann.path).json()["preferences"]
    assert [it.get("kind") for it in found] == ["topic", None]
    refused = ann.client.put(ann.path, json={"preferences": [{**sent, "kind": "habit"}]})
    assert refused.is_client_error
    assert "kind" in refused.text


def test_what_others_store_is_seen_at_once_and_an_answer_sees_what_is_written(ann):
    personalizer = ann.client.app.state.amulet.client.personalizer
    ann.client.put(ann.path, json={"preferences": ["One."]})
    selection = PreferenceSelection(user_id=ann.user)

    def answers_with() -> list[str]:
        return [one.text for one in personalizer.personalize(selection).preferences]

    assert answers_with() == ["One."]  # and is remembered
    ann.client.patch(ann.path, json={"preferences": ["Two."]})
    assert answers_with() == ["Two."]
    ann.client.post(f"{ann.path}/restore", json={"version": 1})
    assert answers_with() == ["One."]
    ann.client.delete(ann.path)
    assert answers_with() == []
    ann.store.save(PreferenceProfile(user_id=ann.user, preferences=["Three."]))
    assert ann.client.get(ann.path).json()["preferences"][0]["text"] == "Three."
    ann.client.delete(ann.path, params={"erase": True})
    assert answers_with() == []


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ({}, {}),
        ({"guidance_scale": 2.5}, {"guidance_scale": 2.5}),
        ({"preferences": ["New."]}, {"preferences": (Preference(text="New."),)}),
        ({"preferences": None}, {"preferences": ()}),
        ({"max_kl": None}, {"max_kl": "default"}),
        ({"method": "pref", "version": 1}, {"method": "pref"}),
        ({"params": {"eta": 5.0}}, {"params": {"eta": 5.0}}),
    ],
)
@pytest.mark.parametrize("media_type", ["application/merge-patch+json", "application/json"])
def test_a_merge_patch_changes_what_it_names(patch, expected, media_type, ann):
    before = ann.store.save(PreferenceProfile(user_id=ann.user, preferences=["Old."], max_kl=None))
    headers = {"Content-Type": media_type}
    response = ann.client.patch(ann.path, content=json.dumps(patch), headers=headers)
    assert response.status_code == 200
    after = ann.store.get(ann.user)
    unchanged = {"version", "updated_at"}
    whole = before.model_copy(update=expected)
    assert after.model_dump(exclude=unchanged) == whole.model_dump(exclude=unchanged)
    assert response.json() == after.model_dump(mode="json")
    assert response.headers["etag"] == '"2"'


def test_a_merge_patch_goes_into_the_parameters(ann):
    ann.store.save(PreferenceProfile(user_id=ann.user, params={"eta": 5.0, "alpha": 1.0}))
    ann.client.patch(ann.path, json={"params": {"alpha": None, "iterations": 3}})
    params = ann.store.get(ann.user).params
    assert (params.eta, params.alpha, params.iterations) == (5.0, 2.0, 3)


@pytest.mark.parametrize(
    ("method", "body", "status", "message"),
    [
        ("PATCH", {"user_id": "bob"}, 400, "user_id cannot be changed"),
        ("PATCH", {"user_id": None}, 400, "user_id cannot be changed"),
        ("PATCH", {"version": 7}, 400, "version cannot be changed"),
        ("PATCH", {"updated_at": None}, 400, "updated_at cannot be changed"),
        ("PATCH", {"parent": "bob"}, 400, "is not allowed"),
        ("PATCH", {"preset": "strong", "guidance_scale": 2}, 400, "given together"),
        ("PATCH", {"prefrences": []}, 400, "did you mean 'preferences'"),
        ("PATCH", {"preferences": {"0": "x"}}, 400, "give a list"),
        ("PATCH", {"params": {"eta": {"a": {"b": 1}}}}, 400, "params.eta"),
        ("PUT", {"user_id": "bob"}, 400, "not the user in the path"),
        ("PUT", {"user_id": None}, 400, "not the user in the path"),
        ("PUT", {"parent": "bob"}, 400, "is not allowed"),
        ("PUT", {"version": -1}, 400, "version=-1"),
        ("PUT", {"updated_at": "yesterday"}, 400, "updated_at"),
        ("PUT", {"preferences": [{"text": "SECRET", "weight": 3}]}, 400, "[0].weight=3"),
        ("PUT", {"preferences": [{"txt": "SECRET"}]}, 400, "preferences[0]"),
        ("PUT", {"preferences": ["x" * 2001]}, 400, "2,001 characters"),
        ("PUT", {"preferences": ["SECRET\x00"]}, 400, "control character"),
        ("PUT", {"preferences": ["SECRET"] * 65}, 400, "at most 64"),
        ("PUT", {"guidance_scale": 20.5}, 400, "20.5"),
        ("PUT", {"guidance_scale": -21}, 400, "-21"),
        ("PUT", {"params": {"iterations": 10000, "alpha": 90}}, 400, "max_guidance_scale = 20"),
        ("PATCH", {"guidance_scale": 1e300}, 400, "max_guidance_scale = 20"),
    ],
)
def test_what_is_not_valid_is_refused_and_stores_nothing(method, body, status, message, ann):
    before = ann.store.save(PreferenceProfile(user_id=ann.user, preferences=["SECRET"]))
    response = ann.client.request(method, ann.path, json=body)
    assert response.status_code == status
    assert message in error_of(response)["message"]
    assert "SECRET" not in response.text
    assert ann.store.get(ann.user) == before
    assert ann.store.get("bob") is None


def test_a_patch_leaves_texts_that_are_longer_than_what_is_allowed_by_now(monkeypatch, ann):
    ann.store.save(PreferenceProfile(user_id=ann.user, preferences=["Something of old."]))
    monkeypatch.setenv("AMULET_MAX_PREFERENCE_CHARS", "5")
    assert ann.client.patch(ann.path, json={"guidance_scale": 2}).status_code == 200
    assert ann.store.get(ann.user).preferences[0].text == "Something of old."
    assert ann.client.patch(ann.path, json={"preferences": ["Too long."]}).status_code == 400


def test_a_profile_that_exceeds_the_servers_strength_cannot_be_restored(make_client, ann):
    ann.store.save(PreferenceProfile(user_id=ann.user, guidance_scale=15))
    ann.store.save(PreferenceProfile(user_id=ann.user))
    client = make_client(max_guidance_scale=10)
    refused = client.post(f"{ann.path}/restore", json={"version": 1})
    assert refused.status_code == 400
    assert "p = 15" in error_of(refused)["message"]
    assert ann.store.get(ann.user).version == 2


def test_deleting_keeps_the_history_and_erasing_does_not(database, ann):
    ann.client.put(ann.path, json={"preferences": ["Rumpelstilzchen."]})
    gone = ann.client.delete(ann.path)
    assert gone.json() == {"user_id": ann.user, "deleted": True, "erased": False}
    assert [it.action for it in ann.store.history(ann.user)] == ["save", "delete"]
    assert ann.client.delete(ann.path).status_code == 404
    assert ann.client.post(f"{ann.path}/restore", json={"version": 1}).json()["version"] == 3
    ann.client.delete(ann.path)
    erased = ann.client.delete(ann.path, params={"erase": True})
    assert erased.json() == {"user_id": ann.user, "deleted": True, "erased": True}
    assert ann.store.history(ann.user) == []
    assert b"Rumpelstilzchen" not in database.read_bytes()
    assert ann.client.delete(ann.path, params={"erase": True}).status_code == 404


def test_the_history_lists_the_newest_changes_and_who_made_them(make_client, ann):
    client = make_client(caller=Caller(key_id="key-7"))
    for text in ("One.", "Two.", "Three."):
        client.put(ann.path, json={"preferences": [text]})
    client.app.dependency_overrides.clear()
    client.delete(ann.path)
    whole = client.get(f"{ann.path}/history").json()
    assert whole["data"] == [it.model_dump(mode="json") for it in ann.store.history(ann.user)]
    assert [it["by"] for it in whole["data"]] == ["key-7"] * 3 + [None]
    assert whole["has_more"] is False
    newest = client.get(f"{ann.path}/history", params={"limit": 2}).json()
    assert [it["version"] for it in newest["data"]] == [3, 4]
    assert newest["has_more"] is True


def test_going_back_to_a_version_that_is_not_there_names_those_that_are(ann):
    missing = ann.client.post(f"{ann.path}/restore", json={"version": 1})
    assert (missing.status_code, error_of(missing)["code"]) == (404, "profile_not_found")
    ann.store.save(PreferenceProfile(user_id=ann.user))
    refused = ann.client.post(f"{ann.path}/restore", json={"version": 9})
    assert refused.status_code == 400
    assert "can be restored: 1" in error_of(refused)["message"]


def test_going_back_reads_the_version_and_not_the_whole_history(monkeypatch, ann):
    for number in range(30):
        ann.store.save(PreferenceProfile(user_id=ann.user, preferences=[f"Number {number}."]))
    read: list[object] = []
    monkeypatch.setattr(queries, "change_of", lambda row: read.append(row) or change_of(row))
    restored = ann.client.post(f"{ann.path}/restore", json={"version": 7})
    assert restored.json()["preferences"][0]["text"] == "Number 6."
    assert len(read) == 2  # for the operator's check, and under the lock


def test_users_are_listed_a_page_at_a_time(make_client, tmp_path):
    users = sorted(["ann", "bob", "a/b", "Zoë", "zoe", "../etc", "日本"])
    with SqlProfileStore(tmp_path / "other.db") as store:
        for user in users:
            store.save(PreferenceProfile(user_id=user))
    client = make_client(profiles=tmp_path / "other.db")
    listed: list[str] = []
    while True:
        query = {"limit": 3} | ({"after": listed[-1]} if listed else {})
        page = client.get("/v1/profiles", params=query).json()
        assert page["object"] == "list"
        listed += [it["user_id"] for it in page["data"]]
        if not page["has_more"]:
            break
    assert listed == users


def test_what_is_damaged_is_an_error_of_the_server_and_can_be_written_over(database, ann):
    ann.store.save(PreferenceProfile(user_id=ann.user))
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE amulet_profiles SET body = '{' WHERE user_id = ?", [ann.user])
    connection.close()
    damaged = ann.client.get(ann.path)
    assert (damaged.status_code, error_of(damaged)["code"]) == (500, "profile_damaged")
    assert ann.client.put(ann.path, json={}, headers={"If-Match": '"1"'}).status_code == 500
    assert ann.client.put(ann.path, json={"preferences": ["New."]}).status_code == 200
    assert ann.client.get(ann.path).json()["preferences"][0]["text"] == "New."


def test_a_server_without_profiles_says_so(make_client, ann):
    client = make_client(profiles=None)
    for response in (
        client.get(ann.path),
        client.put(ann.path, json={}),
        client.delete(ann.path),
        client.get(f"{ann.path}/history"),
        client.get("/v1/profiles"),
    ):
        assert (response.status_code, error_of(response)["code"]) == (404, "no_profiles")
        assert "--profiles" in error_of(response)["message"]


@pytest.mark.usefixtures("own_database")
def test_the_first_write_makes_the_default_database(make_client, ann):
    from amulet_integrations.profiles.stores.default_place import default_path

    client = make_client(profiles="default")
    missing = client.get(ann.path)
    assert missing.status_code == 404
    assert f"PUT {ann.path}" in error_of(missing)["message"]
    assert client.delete(ann.path).status_code == 404
    assert client.get("/v1/profiles").json()["data"] == []
    assert not default_path().exists()
    assert client.put(ann.path, json={"preferences": ["Be brief."]}).status_code == 201
    assert client.get(ann.path).status_code == 200
    with SqlProfileStore() as store:
        assert store.get(ann.user).preferences == (Preference(text="Be brief."),)


def test_a_store_without_history_does_what_it_can(make_client, ann):
    client = make_client()
    memory = InMemoryProfileStore()
    client.app.state.amulet.profiles = ProfileService(memory)
    assert client.put(ann.path, json={"preferences": ["One."]}).status_code == 201
    assert client.patch(ann.path, json={}, headers={"If-Match": '"7"'}).status_code == 412
    patched = client.patch(ann.path, json={"preset": "gentle"}, headers={"If-Match": '"1"'})
    assert patched.json() == memory.get(ann.user).model_dump(mode="json")
    for response in (
        client.get(f"{ann.path}/history"),
        client.post(f"{ann.path}/restore", json={"version": 1}),
        client.delete(ann.path, params={"erase": True}),
        client.delete(ann.path, headers={"If-Match": '"2"'}),
    ):
        assert (response.status_code, error_of(response)["code"]) == (404, "no_history")
    assert client.delete(ann.path).status_code == 200
    assert memory.user_ids() == []


def test_contradictions_are_told_in_the_answer_and_can_be_sent_back(client, ann, recwarn):
    texts = ["Answer briefly.", {"text": "Write long, detailed answers.", "name": "length"}]
    created = client.put(ann.path, json={"preferences": texts})
    expected = [
        {
            "preferences": [0, 1],
            "names": [None, "length"],
            "about": "length",
            "wants": ["short", "long"],
        }
    ]
    assert (created.status_code, created.json()["contradictions"]) == (201, expected)
    patched = client.patch(ann.path, json=created.json() | {"preset": "gentle"})
    assert (patched.status_code, patched.json()["contradictions"]) == (200, expected)
    again = client.put(ann.path, json=created.json())
    assert (again.status_code, again.json()["contradictions"]) == (200, expected)
    assert "contradictions" not in client.get(ann.path).json()
    calm = client.patch(ann.path, json={"preferences": ["Answer briefly."]})
    assert "contradictions" not in calm.json()
    restored = client.post(f"{ann.path}/restore", json={"version": 1})
    assert restored.json()["contradictions"] == expected
    assert not [it for it in recwarn if "disagree" in str(it.message)]
