"""Ways to another's profile: by body, by parent; by key and by path see test_two_users.py."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from amulet_integrations.profiles import Preference, PreferenceProfile, SqlProfileStore
from amulet_integrations.serving.access.caller import Caller
from tests.support.served.untidied import send_untidied

SECRET = "Bob's secret."


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("attacked") / "profiles.db"


@pytest.fixture(scope="module")
def bobs(place):
    """A store with the profile of Bob."""
    with SqlProfileStore(place) as store:
        store.save(PreferenceProfile(user_id="bob", preferences=[SECRET]))
        store.save(PreferenceProfile(user_id="ann", preferences=["Ann's own."]))
        yield store


@pytest.fixture(scope="module")
def anns(make_client, place, bobs):
    """A client with the key of Ann."""
    return make_client(profiles=place, caller=Caller(key_id="k", user_id="ann"))


def test_a_users_key_uses_its_own_profile(anns, bobs):
    assert anns.get("/v1/profiles/ann").json()["preferences"][0]["text"] == "Ann's own."
    assert anns.get("/v1/profiles/%61nn").status_code == 200
    assert anns.put("/v1/profiles/ann", json={"preferences": ["Ann's."]}).status_code == 200
    assert bobs.history("ann")[-1].by == "ann"


async def test_ids_with_slashes_are_told_apart_from_routes(make_client, place, bobs):
    client = make_client(profiles=place)
    users = ["a", "a/history", "a/b", "a/b/history", "..", "%2F", "a?b#c", "café", "cafe\u0301"]
    for number, user in enumerate(users):
        bobs.save(PreferenceProfile(user_id=user, preferences=[f"Text {number}."]))
    for number, user in enumerate(users):
        status, body = await send_untidied(
            client.app, "GET", f"/v1/profiles/{quote(user, safe='')}"
        )
        assert status == 200
        assert f'"Text {number}."'.encode() in body
    history = client.get("/v1/profiles/a%2Fb/history").json()
    assert [it["user_id"] for it in history["data"]] == ["a/b"]
    assert client.get("/v1/profiles/a%2Fb%2Fhistory").json()["user_id"] == "a/b/history"
    made = client.put("/v1/profiles/new%2Fhistory", json={})
    assert made.headers["location"] == "/v1/profiles/new%2Fhistory"
    assert client.get(made.headers["location"]).json()["user_id"] == "new/history"


def test_a_body_names_nobody_else(anns, bobs):
    before = bobs.history("bob"), bobs.history("ann")
    for method in ("PUT", "PATCH"):
        for named in ("bob", ["ann"], {"ann": 1}, 7, None):
            refused = anns.request(method, "/v1/profiles/ann", json={"user_id": named})
            assert refused.status_code == 400, named
    assert (bobs.history("bob"), bobs.history("ann")) == before


def test_a_parent_is_the_operators_word(anns, bobs):
    for method in ("PUT", "PATCH"):
        for parent in ("bob", "nobody"):
            refused = anns.request(method, "/v1/profiles/ann", json={"parent": parent})
            assert refused.status_code == 400
            assert "AMULET_PROFILE_PARENTS" in refused.text
            assert SECRET not in refused.text
    assert bobs.get("ann").parent is None


def test_a_user_learns_the_names_of_what_is_inherited_and_not_the_texts(
    make_client, tmp_path, monkeypatch
):
    monkeypatch.setenv("AMULET_PROFILE_PARENTS", "team")
    place = tmp_path / "profiles.db"
    with SqlProfileStore(place) as store:
        tone = Preference(text="The team's secret.", name="tone")
        store.save(PreferenceProfile(user_id="team", preferences=[tone]))
        store.save(PreferenceProfile(user_id="ann", preferences=["Be brief."], parent="team"))
    own = make_client(profiles=place, caller=Caller(user_id="ann"))
    explained = own.get("/v1/profiles/ann/explain")
    assert explained.status_code == 200
    assert [(it["name"], it["text"]) for it in explained.json()["preferences"]] == [
        ("tone", None),
        (None, "Be brief."),
    ]
    anybody = make_client(profiles=place)
    shown = anybody.get("/v1/profiles/ann/explain").json()
    assert [it["text"] for it in shown["preferences"]] == ["The team's secret.", "Be brief."]


@pytest.mark.parametrize(
    "body",
    [
        b'{"params": ' + b'{"a": ' * 900 + b"1" + b"}" * 901,
        b'{"preferences": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"preferences": [' + b'"x",' * 100_000 + b'"x"]}',
        b'{"guidance_scale": ' + b"9" * 400 + b"}",
        b'{"guidance_scale": NaN}',
        b'{"max_kl": Infinity}',
        b'{"preferences": ["\\ud800"]}',
        b'{"user_id": "\\ud800"}',
        b'{"\\ud800": 1}',
        b'{"version": 1e400}',
        b'{"preferences": [{"text": "x", "when": {"a": 1}}]}',
        b'{"preferences": [{"text": "x", "valid_from": "9999-12-31T23:59:59-14:00"}]}',
        b'{"preferences": [{"text": "x", "weight": "heavy"}]}',
    ],
    ids=range(13),
)
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_odd_bodies_are_refused(anns, bobs, method, body):
    before = bobs.get("ann")
    headers = {"Content-Type": "application/json"}
    refused = anns.request(method, "/v1/profiles/ann", content=body, headers=headers)
    assert refused.status_code == 400
    assert len(refused.content) < 4_000
    assert bobs.get("ann") == before
