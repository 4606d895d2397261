"""Who a request comes from, and attempts to be somebody else."""

from __future__ import annotations

import json
import logging

import pytest
from httpx import ASGITransport, AsyncClient, Response

from amulet_integrations.errors import InvalidParamsError, KeyFileError
from amulet_integrations.serving import ServerSettings
from amulet_integrations.serving.access.key_file import KeyFile
from tests.unit.serving.access.conftest import USER_HEADER, Named, Serve, bearer


def error_of(response: Response, status: int) -> dict[str, str]:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def test_a_client_learns_whose_key_it_has(serve: Serve, file: KeyFile, ann: str, web: str) -> None:
    server = serve(keys=file.path)

    assert server.get("/v1/me", headers=bearer(ann)).json() == {
        "object": "caller",
        "key_id": ann.split("-")[1],
        "user_id": "ann",
        "may_name_users": False,
    }
    assert server.get("/v1/me", headers=bearer(web)).json() == {
        "object": "caller",
        "key_id": web.split("-")[1],
        "user_id": None,
        "may_name_users": True,
    }


def test_without_keys_everybody_on_this_machine_may_name_users(serve: Serve) -> None:
    server = serve()

    for headers in ({}, bearer("EMPTY"), {"Authorization": "Basic x"}):
        assert server.get("/v1/me", headers=headers).json() == {
            "object": "caller",
            "key_id": None,
            "user_id": None,
            "may_name_users": True,
        }


@pytest.mark.parametrize("spelling", ["Bearer {}", "bearer {}", "BEARER   {}  "])
def test_the_scheme_is_read_as_http_says(
    serve: Serve, file: KeyFile, ann: str, spelling: str
) -> None:
    server = serve(keys=file.path)

    response = server.get("/v1/me", headers={"Authorization": spelling.format(ann)})
    assert response.json()["user_id"] == "ann"


def test_a_missing_and_a_wrong_key_are_told_apart(serve: Serve, file: KeyFile, ann: str) -> None:
    server = serve(keys=file.path)
    missing = server.get("/v1/me")
    wrong = server.get("/v1/me", headers=bearer(ann[:-1] + "!"))

    for response in (missing, wrong):
        error = error_of(response, 401)
        assert (error["type"], error["code"]) == ("authentication_error", "invalid_api_key")
        assert response.headers["WWW-Authenticate"] == "Bearer"
    assert "has no key" in missing.json()["error"]["message"]
    assert "not valid" in wrong.json()["error"]["message"]


def test_every_wrong_key_is_refused_in_the_same_words(
    serve: Serve, file: KeyFile, ann: str, bob: str
) -> None:
    server = serve(keys=file.path)
    _, key_id, secret = ann.split("-", 2)
    file.revoke(lambda record: record.user_id == "bob")
    wrong = [
        "x",
        "sk-proj-123",
        bob,
        ann[:-1],
        ann + "A",
        ann.upper(),
        ann.swapcase(),
        f"{ann} {ann}",
        f"{ann},{ann}",
        f"amulet-{'0' * 12}-{secret}",
        f"amulet-{key_id}-{'A' * 43}",
        json.loads(file.path.read_text())["keys"][0]["sha256"],
        "../keys.json",
        "x" * 50_000,
        ann.encode()[:-1] + b"\xe9",
        "amul\N{CYRILLIC SMALL LETTER IE}t".encode() + ann[6:].encode(),
    ]
    refusals = {
        server.get(
            "/v1/me",
            headers={"Authorization": b"Bearer " + (it if isinstance(it, bytes) else it.encode())},
        ).text
        for it in wrong
    }

    assert len(refusals) == 1
    assert ann not in refusals.pop()


def test_a_key_elsewhere_than_in_its_header_is_not_read(
    serve: Serve, file: KeyFile, ann: str
) -> None:
    server = serve(keys=file.path)
    elsewhere = [
        server.get("/v1/me", params={"api_key": ann, "key": ann, "access_token": ann}),
        server.get("/v1/me", params={"Authorization": f"Bearer {ann}"}),
        server.get("/v1/me", headers={"X-Api-Key": ann, "Api-Key": ann}),
        server.get("/v1/me", headers={"Cookie": f"Authorization=Bearer {ann}; key={ann}"}),
        server.get("/v1/me", headers={"Authorization": ann}),
        server.get("/v1/me", headers={"Authorization": f"Basic {ann}"}),
        server.get("/v1/me", headers={"Authorization": "Bearer"}),
        server.get("/v1/me", headers={"Authorization": "Bearer  "}),
        server.get("/v1/me", headers={"Authorization": ""}),
        server.get("/v1/me", auth=("ann", ann)),
    ]

    for response in elsewhere:
        assert "has no key" in error_of(response, 401)["message"]
        assert ann not in response.text


def test_two_keys_at_once_are_refused(serve: Serve, file: KeyFile, ann: str, bob: str) -> None:
    server = serve(keys=file.path)
    for first, second in ((ann, bob), (bob, ann), (ann, ann), ("x", ann)):
        pair = [("Authorization", f"Bearer {first}"), ("Authorization", f"Bearer {second}")]
        assert "send it once" in error_of(server.get("/v1/me", headers=pair), 400)["message"]


def test_a_key_is_valid_from_its_making_to_its_revocation(
    serve: Serve, file: KeyFile, ann: str
) -> None:
    server = serve(keys=file.path)
    bob = file.create(user_id="bob")
    assert server.get("/v1/me", headers=bearer(bob.text)).json()["user_id"] == "bob"

    file.revoke(lambda record: record.id == bob.key_id)
    error_of(server.get("/v1/me", headers=bearer(bob.text)), 401)
    assert server.get("/v1/me", headers=bearer(ann)).status_code == 200


def test_without_its_file_the_server_lets_nobody_in(
    serve: Serve, file: KeyFile, ann: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(keys=file.path)
    file.path.rename(file.path.with_name("gone"))
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            response = server.get("/v1/me", headers=bearer(ann))
            error = error_of(response, 503)
            assert (error["type"], error["code"]) == ("server_error", "keys_unavailable")
            assert str(file.path) not in response.text
        error_of(server.get("/v1/me"), 401)
    assert caplog.text.count(str(file.path)) > 0
    assert len(caplog.records) == 1

    file.path.with_name("gone").rename(file.path)
    assert server.get("/v1/me", headers=bearer(ann)).status_code == 200


def test_a_server_does_not_start_without_its_file(serve: Serve, file: KeyFile) -> None:
    with pytest.raises(KeyFileError, match="amulet keys create"):
        serve(keys=file.path)


def test_what_everybody_may_see_needs_no_key(serve: Serve, file: KeyFile, ann: str) -> None:
    assert serve(keys=file.path).get("/healthz").status_code == 200


# Who a request is about.


@pytest.mark.parametrize(
    ("body", "headers", "user"),
    [
        (None, {}, None),
        ("ann", {}, "ann"),
        (None, {"X_OpenWebUI_User_Id": "ann"}, "ann"),
        ("ann", {"X_User": "bob"}, "ann"),
        ("Änn \N{GRINNING FACE}", {}, "Änn \N{GRINNING FACE}"),
        (None, {"X_User": "Änn \N{GRINNING FACE}"}, "Änn \N{GRINNING FACE}"),
        (None, {"X_User": "ann, bob"}, "ann, bob"),
        (None, {"x_openwebui_user_id": "second", "x_user": "first"}, "first"),
        ("../ann", {}, "../ann"),
    ],
)
def test_an_application_names_the_user_in_the_body_or_else_in_a_header(
    named: Named, body: str | None, headers: dict[str, str], user: str | None
) -> None:
    assert named.ask(named.web, body, **headers).json() == {"user": user}


def test_without_keys_everybody_names_users_in_the_same_places(serve: Serve) -> None:
    server = serve(user_headers=("X-User",))
    for params, headers, user in (
        ({}, {}, None),
        ({"user": "ann"}, {"X-User": "bob"}, "ann"),
        ({}, {"X-User": "bob"}, "bob"),
    ):
        response = server.get("/v1/named", params=params, headers=headers)
        assert response.json() == {"user": user}


def test_a_header_that_is_not_configured_names_nobody(
    serve: Serve, file: KeyFile, ann: str, web: str
) -> None:
    server = serve(keys=file.path)

    for key, user in ((web, None), (ann, "ann")):
        headers = {**bearer(key), USER_HEADER: "bob", "X-User": "bob"}
        assert server.get("/v1/named", headers=headers).json() == {"user": user}


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ("bob", {}),
        ("nobody-at-all", {}),
        ("ANN", {}),
        ("ann ", {}),
        ("an\N{COMBINING ACUTE ACCENT}n", {}),
        (None, {"X_User": "bob"}),
        (None, {"X_User": "nobody-at-all"}),
        ("ann", {"X_User": "bob"}),
        ("ann", {"X_User": "ann", "X_OpenWebUI_User_Id": "bob"}),
        ("bob", {"X_User": "ann"}),
        (None, {"X_OPENWEBUI_USER_ID": "ann,bob"}),
    ],
)
def test_a_users_key_names_nobody_else(
    named: Named, body: str | None, headers: dict[str, str]
) -> None:
    error = error_of(named.ask(named.ann, body, **headers), 403)

    assert (error["type"], error["code"]) == ("permission_error", "forbidden")


def test_a_users_key_is_about_that_user(named: Named) -> None:
    for body, headers in ((None, {}), ("ann", {}), (None, {"X_User": "ann"})):
        assert named.ask(named.ann, body, **headers).json() == {"user": "ann"}


@pytest.mark.parametrize("name", ["", "   ", "a\nb", "a\x00", "\x7f", "\x85", "x" * 257])
def test_a_name_that_no_user_may_have_is_refused(named: Named, name: str) -> None:
    for key in (named.ann, named.web):
        assert error_of(named.ask(key, name), 400)["param"] == "user"
        if not set(name) & set("\n\x00"):  # no client sends these in a header
            assert error_of(named.ask(key, X_User=name), 400)["param"] == "X-User"


def test_a_header_that_stands_there_twice_is_refused(named: Named) -> None:
    for key in (named.ann, named.web):
        headers = [*bearer(key).items(), ("X-User", "ann"), ("x-user", "ann")]
        error = error_of(named.client.get("/v1/named", headers=headers), 400)
        assert "X-User" in error["message"]


async def test_a_header_that_is_not_in_utf_8_is_refused(named: Named) -> None:
    headers = {**bearer(named.web), "X-User": "änn".encode("latin-1")}
    transport = ASGITransport(named.client.app)  # a TestClient would write it in UTF-8
    async with AsyncClient(transport=transport, base_url="http://localhost") as client:
        response = await client.get("/v1/named", headers=headers)

    assert "UTF-8" in error_of(response, 400)["message"]


@pytest.mark.parametrize("name", ["", "X User", "X-User:", "Authorization", "host", "X\nY", "Ü"])
def test_what_cannot_name_users_is_no_user_header(name: str) -> None:
    with pytest.raises(InvalidParamsError, match="user_headers"):
        ServerSettings(user_headers=(name,))


def test_a_users_key_and_a_header_that_names_another_go_together_nowhere(named: Named) -> None:
    for path in ("/v1/me", "/v1/models", "/v1/profiles/ann"):
        headers = {**bearer(named.ann), "X-User": "bob"}
        error_of(named.client.get(path, headers=headers), 403)
    for key, user in ((named.ann, "ann"), (named.web, "bob")):
        response = named.client.get("/v1/me", headers={**bearer(key), "X-User": user})
        assert response.status_code == 200


def test_the_description_of_the_api_names_the_key_where_keys_are_in_use(
    serve: Serve, file: KeyFile, ann: str
) -> None:
    described = serve(keys=file.path).get("/openapi.json").json()
    needs_key = {
        path: "security" in operation
        for path, methods in described["paths"].items()
        for operation in methods.values()
    }

    assert described["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert needs_key
    assert all(needed == path.startswith("/v1/") for path, needed in needs_key.items())
    assert "securitySchemes" not in serve().get("/openapi.json").json()["components"]
