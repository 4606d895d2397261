"""Ann has a key, and tries to get at Bob's profile by every route."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from fastapi.testclient import TestClient
from httpx import Response

from amulet_integrations import Preference, PreferenceProfile, SqlProfileStore
from amulet_integrations.engine import LocalEngine
from amulet_integrations.serving import ServerSettings, create_app
from amulet_integrations.serving.access.key_file import KeyFile
from tests.support.served.untidied import send_untidied
from tests.unit.serving.access.conftest import bearer

SECRET = "Bob is afraid of geese."
CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}


class Served(NamedTuple):
    """A server with the profiles of Ann and Bob; the application `web` has a key, too."""

    client: TestClient
    store: SqlProfileStore
    file: KeyFile
    ann: str
    bob: str
    web: str


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, tiny_engine: LocalEngine) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    file = KeyFile(folder / "keys.json")
    ann, bob = (file.create(user_id=user).text for user in ("ann", "bob"))
    web = file.create(application="web").text
    settings = ServerSettings(
        model="tiny", profiles=folder / "profiles.db", keys=file.path, user_headers=("X-User",)
    )
    app = create_app(settings, engine=tiny_engine)
    with (
        SqlProfileStore(folder / "profiles.db") as store,
        TestClient(app, raise_server_exceptions=False) as client,
    ):
        for user, text in (("ann", "Be brief."), ("bob", SECRET)):
            store.save(PreferenceProfile(user_id=user, preferences=(Preference(text=text),)))
        yield Served(client, store, file, ann, bob, web)


@pytest.fixture(autouse=True)
def bob_is_as_he_was(served: Served) -> Iterator[None]:
    yield
    found = served.store.get("bob")
    assert (found.version, found.preferences[0].text) == (1, SECRET)


@pytest.fixture
def bob_is_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every access to the store for somebody else than Ann fails the request with a 500."""
    for name in ("get", "save", "update", "delete", "erase", "history", "restore"):
        original = getattr(SqlProfileStore, name)

        def checked(self, user, *args, original=original, **kwargs):
            assert getattr(user, "user_id", user) in ("ann", "warm-up")
            return original(self, user, *args, **kwargs)

        monkeypatch.setattr(SqlProfileStore, name, checked)
    monkeypatch.setattr(SqlProfileStore, "user_ids", None)


def refused(response: Response, status: int = 403) -> str:
    """The refusal's text, which has to be the same whoever is named."""
    assert response.status_code == status, response.text
    assert SECRET not in response.text
    assert not {"etag", "location"} & set(response.headers)
    return response.text


PROFILE = {"preferences": [{"text": "Obey Ann."}]}
ROUTES = [
    ("GET", "", None),
    ("PUT", "", PROFILE),
    ("PATCH", "", PROFILE),
    ("DELETE", "", None),
    ("DELETE", "?erase=true", None),
    ("GET", "/history", None),
    ("POST", "/restore", {"version": 1}),
    ("GET", "/explain", None),
    ("POST", "/explain", {}),
]


@pytest.mark.usefixtures("bob_is_not_looked_up")
@pytest.mark.parametrize(("method", "rest", "body"), ROUTES)
def test_anothers_profile_is_refused_in_the_same_words_whether_or_not_it_is_there(
    served: Served, method: str, rest: str, body: object
) -> None:
    texts = set()
    for user in ("bob", "nobody"):
        for precondition in ({}, {"If-Match": '"1"'}, {"If-Match": "*"}, {"If-None-Match": "*"}):
            headers = {**bearer(served.ann), **precondition}
            path = f"/v1/profiles/{user}{rest}"
            response = served.client.request(method, path, json=body, headers=headers)
            texts.add(refused(response).replace(user, "…"))
    assert len(texts) == 1


@pytest.mark.parametrize(("method", "rest", "body"), ROUTES)
def test_without_a_valid_key_no_profile_is_there(
    served: Served, method: str, rest: str, body: object
) -> None:
    for headers in ({}, bearer(served.ann[:-1] + "!"), {"X-User": "ann"}):
        for user in ("ann", "nobody"):
            path = f"/v1/profiles/{user}{rest}"
            refused(served.client.request(method, path, json=body, headers=headers), 401)


TRICKS = [
    *("ann/../bob", "ann/%2e%2e/bob", "ann/..%2Fbob", "ann%2F..%2Fbob", "ann%2f%2e%2e%2fbob"),
    *("ann/./../bob", "./bob", "%2e/bob", "..%2fbob", "ann/history/../../bob", "ann\\..\\bob"),
    *("/bob", "//bob", "bob/", "ann//", "%2Fbob", "bob%2F", "ann;/bob", "ann;/../bob"),
    *("%62ob", "%62%6f%62", "%2562ob", "BOB", "b%C3%B3b", "b%C3%B6b", "%EF%BD%82ob"),
    *("bob%00", "ann%00bob", "bob%20", "bob%09", "bob%0a", "bo%E2%80%8Bb", "%ff", "bob%ff"),
    *("%C0%AFbob", "bob%3Fx=1", "bob%23", "bob%25", "bob%252f", "%", "%25", "%zz", "*", ""),
    *("bob?user_id=ann", "bob?user=ann", "bob;ann", "bob;v=1", "ann,bob", "history"),
    *("bob/history/", "bob%2Fhistory", "ann%2Fhistory", "x" * 300, "a" * 20_000),
]


@pytest.mark.usefixtures("bob_is_not_looked_up")
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_tricks_with_the_path_lead_to_nobody(served: Served, method: str) -> None:
    headers = bearer(served.ann)
    before = served.client.get("/v1/profiles/ann", headers=headers).text
    body = json.dumps(PROFILE).encode() if method == "PUT" else b""
    for trick in TRICKS:
        path = f"/v1/profiles/{trick}"
        answer = await send_untidied(served.client.app, method, path, body=body, headers=headers)
        assert answer.status in (307, 400, 403, 404, 405), (path, answer.body)
        assert SECRET.encode() not in answer.body
    assert served.client.get("/v1/profiles/ann", headers=headers).text == before


@pytest.mark.usefixtures("bob_is_not_looked_up")
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize("field", ["user_id", "parent"])
def test_ones_own_profile_is_no_way_to_anothers(served: Served, method: str, field: str) -> None:
    body = {**PROFILE, field: "bob"}
    headers = bearer(served.ann)
    refused(served.client.request(method, "/v1/profiles/ann", json=body, headers=headers), 400)


def test_a_users_key_does_not_learn_who_else_there_is(served: Served) -> None:
    for query in ("", "?after=b", "?limit=1"):
        response = served.client.get(f"/v1/profiles{query}", headers=bearer(served.ann))
        assert "bob" not in refused(response)


def test_a_users_key_does_all_to_ones_own_profile(served: Served) -> None:
    headers = {**bearer(served.file.create(user_id="carl").text), "X-User": "carl"}
    for method, rest, body in (ROUTES[1], *ROUTES):
        response = served.client.request(
            method, f"/v1/profiles/carl{rest}", json=body, headers=headers
        )
        if rest == "?erase=true":
            break
        assert response.is_success, (method, rest, response.text)
    assert served.store.get("carl") is None


def test_an_applications_key_does_all_to_anybodys_profile(served: Served) -> None:
    headers = {**bearer(served.web), "X-User": "whoever"}
    for user in ("dora", "emil"):
        path = f"/v1/profiles/{user}"
        assert served.client.put(path, json=PROFILE, headers=headers).is_success
        assert served.client.get(path, headers=headers).is_success
    assert SECRET in served.client.get("/v1/profiles/bob", headers=headers).text


# Answers.


@pytest.mark.usefixtures("bob_is_not_looked_up")
@pytest.mark.parametrize(
    ("route", "asked"),
    [
        ("/v1/chat/completions", CHAT),
        ("/v1/completions", {"model": "tiny", "prompt": "Hi", "max_tokens": 2}),
    ],
)
def test_nobody_is_answered_as_another(
    served: Served, route: str, asked: dict[str, object]
) -> None:
    for body, headers in (
        ({"user": "bob"}, {}),
        ({"user": "nobody"}, {}),
        ({"user": "BOB"}, {}),
        ({}, {"X-User": "bob"}),
        ({"user": "ann"}, {"X-User": "bob"}),
        ({"user": "bob"}, {"X-User": "ann"}),
        ({"user": "bob", "stream": True}, {}),
    ):
        with_key = {**bearer(served.ann), **headers}
        refused(served.client.post(route, json={**asked, **body}, headers=with_key))


@pytest.mark.usefixtures("bob_is_not_looked_up")
@pytest.mark.parametrize(
    "body",
    [
        {"amulet": {"user_id": "bob"}},
        {"amulet": {"user": "bob"}},
        {"user_id": "bob"},
        {"User": "bob"},
        {"user": ["ann", "bob"]},
        {"user": {"id": "bob"}},
        {"user": "bob\x00"},
        {"user": "b" * 257},
        {"user": ""},
    ],
)
def test_there_is_no_other_way_to_name_a_user(served: Served, body: dict[str, object]) -> None:
    asked = {**CHAT, **body}
    refused(served.client.post("/v1/chat/completions", json=asked, headers=bearer(served.ann)), 400)


def test_of_two_equal_fields_the_one_that_counts_is_checked(served: Served) -> None:
    fields = '"model": "tiny", "max_tokens": 2, "messages": [{"role": "user", "content": "Hi"}]'
    headers = {**bearer(served.ann), "Content-Type": "application/json"}
    statuses = [
        served.client.post(
            "/v1/chat/completions",
            content=f'{{{fields}, "user": "{first}", "user": "{last}"}}',
            headers=headers,
        ).status_code
        for first, last in (("bob", "ann"), ("ann", "bob"))
    ]
    assert statuses == [200, 403]


def test_each_is_answered_by_ones_own_profile(served: Served) -> None:
    def applied(key: str, **more: object) -> dict[str, object]:
        asked = {**CHAT, **more}
        response = served.client.post("/v1/chat/completions", json=asked, headers=bearer(key))
        assert response.status_code == 200, response.text
        return response.json()["amulet"]

    for key, named, user in (
        (served.ann, {}, "ann"),
        (served.ann, {"user": "ann"}, "ann"),
        (served.web, {"user": "ann"}, "ann"),
        (served.bob, {}, "bob"),
        (served.web, {"user": "bob"}, "bob"),
        (served.web, {}, None),
    ):
        assert applied(key, **named)["user_id"] == user


def test_a_revoked_key_answers_no_more(served: Served) -> None:
    key = served.file.create(user_id="fay")
    asked = {**CHAT, "max_tokens": 100, "stream": True}
    with served.client.stream(
        "POST", "/v1/chat/completions", json=asked, headers=bearer(key.text)
    ) as stream:
        assert stream.status_code == 200
        served.file.revoke(lambda record: record.id == key.key_id)
        assert "[DONE]" in stream.read().decode()  # what runs may end
    for method, path in (("POST", "/v1/chat/completions"), ("GET", "/v1/profiles/fay")):
        body = CHAT if method == "POST" else None
        refused(served.client.request(method, path, json=body, headers=bearer(key.text)), 401)
