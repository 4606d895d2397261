"""A server without keys answers this machine and its own page; CORS opens it to named origins."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from httpx import Response

from amulet_integrations.engine import LocalEngine
from amulet_integrations.errors import InvalidParamsError
from amulet_integrations.serving import ServerSettings, create_app
from amulet_integrations.serving.access.key_file import KeyFile
from tests.unit.serving.access.conftest import Serve, bearer

OWN = [
    "localhost",
    "LocalHost:8000",
    "localhost.",
    "localhost.:8000",
    "127.0.0.1",
    "127.0.0.1:8000",
    "127.3.2.1:80",
    "[::1]",
    "[::1]:8000",
    "[::ffff:127.0.0.1]:8000",
    "[::ffff:7f00:1]:8000",
]
FOREIGN = [
    "evil.example",
    "evil.example:8000",
    "localhost.evil.example",
    "127.0.0.1.evil.example:8000",
    "evil-localhost",
    "sub.localhost",
    "192.168.0.1:8000",
    "0.0.0.0:8000",
    "[::]:8000",
    "[fe80::1]",
    "[::ffff:10.0.0.1]",
    "127.1",
    "0x7f.1",
    "0177.0.0.1",
    "2130706433",
    "0",
    "testserver",
]
NO_HOST = [
    "",
    " ",
    "localhost:x",
    "localhost:80:80",
    "user@localhost",
    "localhost/evil.example",
    "localhost, evil.example",
    "localhost evil.example",
    "evil.example#localhost",
    "::1",
    "[::1",
    "lo\N{LATIN SMALL LETTER LONG S}t",
]


def ask(server: TestClient, **headers: str) -> Response:
    return server.get(
        "/v1/me", headers={k.replace("_", "-"): v.encode() for k, v in headers.items()}
    )


@pytest.fixture(scope="module")
def keyless(tiny_engine: LocalEngine) -> Iterator[TestClient]:
    app = create_app(ServerSettings(profiles=None), engine=tiny_engine)
    with TestClient(app, base_url="http://localhost:8000") as client:
        yield client


@pytest.mark.parametrize("host", OWN)
def test_a_host_of_this_machine_is_answered(keyless: TestClient, host: str) -> None:
    assert ask(keyless, Host=host).status_code == 200


@pytest.mark.parametrize("host", FOREIGN)
def test_a_name_that_was_made_to_lead_here_is_not(keyless: TestClient, host: str) -> None:
    response = ask(keyless, Host=host)

    assert response.status_code == 403
    assert response.json()["error"]["type"] == "permission_error"
    for path in ("/healthz", "/readyz", "/nothing"):
        assert keyless.get(path, headers={"Host": host}).status_code == 403


@pytest.mark.parametrize("host", NO_HOST)
def test_what_is_no_host_is_refused(keyless: TestClient, host: str) -> None:
    assert ask(keyless, Host=host).status_code == 400


def test_two_hosts_are_refused(keyless: TestClient) -> None:
    pair = [("Host", "localhost"), ("Host", "evil.example")]
    assert keyless.get("/v1/me", headers=pair).status_code == 400


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:8000", "http://localhost:8000"),
        ("localhost:8000", "https://localhost:8000"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("[::1]:8000", "http://[::1]:8000"),
        ("localhost", "http://localhost"),
        ("localhost:80", "http://localhost"),
        ("localhost", "https://localhost:443"),
    ],
)
def test_its_own_page_may_call(keyless: TestClient, host: str, origin: str) -> None:
    assert ask(keyless, Host=host, Origin=origin).status_code == 200


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "http://evil.example:8000",
        "http://localhost:3000",
        "http://localhost",
        "http://127.0.0.1:8000",  # another origin than localhost:8000
        "http://localhost:8000.evil.example",
        "http://localhost:8000@evil.example",
        "http://localhost:8000/",
        "http://sub.localhost:8000",
        "file://",
        "chrome-extension://localhost:8000",
        "null",
        "",
        "localhost:8000",
    ],
)
def test_a_page_of_another_origin_may_not(keyless: TestClient, origin: str) -> None:
    for method in ("GET", "POST", "OPTIONS", "PUT", "DELETE"):
        response = keyless.request(method, "/v1/chat/completions", headers={"Origin": origin})
        assert response.status_code == 403
        assert "cors_origins" in response.json()["error"]["message"]
        assert not [name for name in response.headers if name.startswith("access-control")]


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_site_may_neither_embed_nor_load_what_is_served(
    keyless: TestClient, site: str
) -> None:
    """A browser sends no Origin for a script, an image or a frame."""
    for mode, kind in (("no-cors", "script"), ("no-cors", "image"), ("navigate", "iframe")):
        asked = {"Sec_Fetch_Site": site, "Sec_Fetch_Mode": mode, "Sec_Fetch_Dest": kind}
        assert ask(keyless, **asked).status_code == 403

    link = {"Sec_Fetch_Site": site, "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    assert ask(keyless, **link).status_code == 200
    for own in ("same-origin", "none"):
        assert ask(keyless, Sec_Fetch_Site=own, Sec_Fetch_Mode="cors").status_code == 200


def test_with_keys_a_server_answers_under_every_name(serve: Serve, file: KeyFile, ann: str) -> None:
    server = serve(keys=file.path, host="0.0.0.0")  # noqa: S104
    for host in (*OWN, *FOREIGN):
        headers = {**bearer(ann), "Host": host, "Origin": "http://evil.example"}
        response = server.get("/v1/me", headers=headers)
        assert response.status_code == 200
        assert "access-control-allow-origin" not in response.headers


# CORS.

APP = "https://app.example.org"


def preflight(server: TestClient, origin: str, method: str = "POST", headers: str = "") -> Response:
    asked = {"Origin": origin, "Access-Control-Request-Method": method}
    if headers:
        asked["Access-Control-Request-Headers"] = headers
    return server.options("/v1/me", headers=asked)


@pytest.mark.parametrize("has_keys", [True, False])
def test_cors_is_off_by_default(serve: Serve, file: KeyFile, ann: str, has_keys: bool) -> None:
    response = preflight(serve(keys=file.path if has_keys else None), APP)

    assert response.status_code in (401, 403, 405)
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize("has_keys", [True, False])
def test_a_named_origin_may_call(serve: Serve, file: KeyFile, ann: str, has_keys: bool) -> None:
    server = serve(keys=file.path if has_keys else None, cors_origins=(APP,))
    wanted = "authorization,content-type,if-match,x-openwebui-user-id,x-stainless-lang"
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        allowed = preflight(server, APP, method, wanted)
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == APP
        assert method in allowed.headers["access-control-allow-methods"].split(", ")
        assert allowed.headers["access-control-allow-headers"] == wanted
        assert "access-control-allow-credentials" not in allowed.headers

    answer = server.get("/v1/me", headers={"Origin": APP, **bearer(ann)})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == APP
    assert "ETag" in answer.headers["access-control-expose-headers"]
    assert "Origin" in answer.headers["vary"]


@pytest.mark.parametrize("has_keys", [True, False])
@pytest.mark.parametrize("origin", ["https://evil.example", APP + ".evil.example", "null"])
def test_another_origin_may_not(
    serve: Serve, file: KeyFile, ann: str, has_keys: bool, origin: str
) -> None:
    server = serve(keys=file.path if has_keys else None, cors_origins=(APP,))

    assert preflight(server, origin).status_code == 400
    for response in (preflight(server, origin), server.get("/v1/me", headers={"Origin": origin})):
        assert response.status_code >= 400
        assert "access-control-allow-origin" not in response.headers


def test_errors_reach_a_page_that_may_call(serve: Serve, file: KeyFile, ann: str) -> None:
    response = serve(keys=file.path, cors_origins=(APP,)).get("/v1/me", headers={"Origin": APP})

    assert response.status_code == 401
    assert response.headers["access-control-allow-origin"] == APP


def test_a_named_origin_does_not_open_the_server_to_other_hosts(serve: Serve) -> None:
    server = serve(cors_origins=(APP,))

    assert ask(server, Host="evil.example", Origin=APP).status_code == 403


def test_every_page_may_call_only_where_there_are_keys(
    serve: Serve, file: KeyFile, ann: str
) -> None:
    with pytest.raises(InvalidParamsError, match="without keys"):
        ServerSettings(cors_origins=("*",))

    server = serve(keys=file.path, cors_origins=("*",))
    assert preflight(server, APP).headers["access-control-allow-origin"] == "*"
    assert server.get("/v1/me", headers={"Origin": APP}).status_code == 401


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "null",
        "app.example.org",
        "https://app.example.org/",
        "https://app.example.org/page",
        "https://app.example.org:443",
        "http://localhost:80",
        "https://App.example.org",
        "https://*.example.org",
        "ftp://app.example.org",
        "https://a@b",
    ],
)
def test_what_no_browser_sends_is_no_origin(origin: str) -> None:
    with pytest.raises(InvalidParamsError, match="cors_origins"):
        ServerSettings(cors_origins=(origin,))


@pytest.mark.parametrize(
    "origin", ["http://localhost:3000", "https://app.example.org:8443", "http://[::1]:3000"]
)
def test_what_browsers_send_is_one(origin: str) -> None:
    assert ServerSettings(cors_origins=(origin,)).cors_origins == (origin,)


# The address to listen on.


@pytest.mark.parametrize(
    ("host", "listened_on"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.9.9.9", "127.9.9.9"),
        (" localhost ", "localhost"),
        ("LOCALHOST", "localhost"),
        ("localhost.", "localhost."),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
    ],
)
def test_without_keys_it_listens_to_this_machine(host: str, listened_on: str) -> None:
    assert ServerSettings(host=host).host == listened_on


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0",  # noqa: S104
        "::",
        "0",
        "127.1",
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "0177.0.0.1",
        "::ffff:10.0.0.1",
        "10.0.0.1",
        "example.org",
        "localhost.evil.example",
        "sub.localhost",
        "127.0.0.1:8000",
        "127.0.0.1 10.0.0.1",
    ],
)
def test_without_keys_it_listens_to_nothing_else(host: str, file: KeyFile, ann: str) -> None:
    with pytest.raises(InvalidParamsError, match="amulet keys create"):
        ServerSettings(host=host)
    assert ServerSettings(host=host, keys=file.path).host


@pytest.mark.parametrize("keys", [None, "keys.json"])
@pytest.mark.parametrize("host", ["", "   "])
def test_an_empty_host_is_refused(host: str, keys: str | None) -> None:
    with pytest.raises(InvalidParamsError, match="empty"):
        ServerSettings(host=host, keys=keys)
