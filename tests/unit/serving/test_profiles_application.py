"""Keys and profiles in somebody else's application, which has no engine of ours."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse
from fastapi.testclient import TestClient
from starlette.exceptions import HTTPException

from amulet_integrations.concurrency.thread_groups import current_group
from amulet_integrations.errors import InvalidParamsError, ProfileStoreError
from amulet_integrations.profiles import InMemoryProfileStore, PreferenceProfile, SqlProfileStore
from amulet_integrations.serving import (
    Access,
    Caller,
    ProfileService,
    ServerSettings,
    add_profile_routes,
    create_app,
    create_profiles_app,
)
from amulet_integrations.serving.access.key_file import KeyFile
from tests.unit.serving.access.conftest import bearer

HEADER = "X-User"
LOCAL = "http://127.0.0.1"
BRIEF = {"preferences": ["Be brief."]}


class Tokens:
    """An application's own tokens, each with its caller."""

    async def afind(self, key: str) -> Caller | None:
        if key == "broken":
            raise RuntimeError("SECRET")
        return {"of ann": Caller("t1", "ann"), "of all": Caller("t2")}.get(key)


ANN, ALL = bearer("of ann"), bearer("of all")


def make_host(access: Access, profiles: ProfileService | None = None, **options) -> FastAPI:
    """A gateway: its own chat route and errors, and our routes."""
    host = FastAPI()

    @host.exception_handler(HTTPException)
    async def own_form(_request: Request, error: HTTPException) -> PlainTextResponse:
        return PlainTextResponse(f"the gateway's {error.status_code}", error.status_code)

    @host.post("/v1/chat/completions")
    async def chat(request: Request, body: dict[str, str]) -> dict[str, str | None]:
        asker = await access.asker_of(request, body.get("user"))
        return {"user": asker.user_id, "salt": asker.cache_salt}

    @host.get("/own/{number}")
    async def own(number: int) -> int:
        if not number:
            raise HTTPException(418)
        return number

    add_profile_routes(host, access, profiles or ProfileService(InMemoryProfileStore()), **options)
    return host


def client_of(app, **options) -> TestClient:
    return TestClient(app, base_url=LOCAL, **options)


@pytest.fixture
def host() -> TestClient:
    return client_of(make_host(Access(Tokens(), [HEADER])))


@pytest.fixture
def local() -> FastAPI:
    return make_host(Access())


def code_of(response: httpx.Response) -> tuple[int, str | None]:
    assert set(response.json()) == {"error"}, response.text
    return response.status_code, response.json()["error"]["code"]


REQUESTS = [
    ("GET", "/v1/me", {}),
    ("GET", "/v1/profiles", {}),
    ("GET", "/v1/profiles/ann", {}),
    ("PUT", "/v1/profiles/ann", {"json": BRIEF}),
    ("PUT", "/v1/profiles/ann", {"json": BRIEF, "headers": {"If-None-Match": "*"}}),
    ("PUT", "/v1/profiles/a%2Fb%3F", {"json": BRIEF}),
    ("PUT", "/v1/profiles/ann", {"json": {"guidance_scale": 1e3}}),
    ("PUT", "/v1/profiles/ann", {"json": {"preferences": ["bad words"]}}),
    ("PUT", "/v1/profiles/ann", {"json": {"preferences": ["x"] * 65}}),
    ("PUT", "/v1/profiles/ann", {"content": b"{", "headers": {"Content-Type": "application/json"}}),
    ("PUT", "/v1/profiles/ann", {"content": b"{}", "headers": {"Content-Type": "text/plain"}}),
    ("PATCH", "/v1/profiles/ann", {"json": {"method": "pref"}, "headers": {"If-Match": '"1"'}}),
    ("PATCH", "/v1/profiles/ann", {"json": {"method": None}, "headers": {"If-Match": '"1"'}}),
    ("PATCH", "/v1/profiles/ann", {"json": {"nonsense": 1}}),
    ("GET", "/v1/profiles/ann", {"headers": {"If-None-Match": '"2"'}}),
    ("GET", "/v1/profiles/ann/history?limit=1", {}),
    ("GET", "/v1/profiles/ann/history?limit=0", {}),
    ("POST", "/v1/profiles/ann/restore", {"json": {"version": 1}}),
    ("POST", "/v1/profiles/ann/restore", {"json": {"version": 99}}),
    ("GET", "/v1/profiles/ann/explain?at=2030-01-01T00:00Z&topic=x", {}),
    ("POST", "/v1/profiles/ann/explain", {"json": {"at": "2030-01-01T00:00Z"}}),
    ("POST", "/v1/profiles/ann", {"json": {}}),
    ("GET", "/v1/profiles/ann/nothing", {}),
    ("GET", "/v1/profiles/", {}),
    ("DELETE", "/v1/profiles/ann", {}),
    ("DELETE", "/v1/profiles/ann?erase=true", {}),
    ("DELETE", "/v1/profiles/ann?erase=true", {}),
    ("GET", "/v1/profiles", {}),
]


def check(_user_id: str | None, text: str) -> str:
    """Refuses some preferences."""
    if "bad" in text:
        raise ValueError("Not here.")
    return text


@pytest.mark.parametrize("prefix", ["", "/amulet"])
def test_it_answers_as_our_own_server_does(prefix, tiny_engine, tmp_path):
    named = f"{__name__}:check"
    settings = ServerSettings(profiles=tmp_path / "served.db", preference_check=named)
    served = client_of(create_app(settings, engine=tiny_engine))
    profiles = ProfileService(tmp_path / "mounted.db", preference_check=check)
    mounted = client_of(make_host(Access(), profiles, prefix=prefix))
    for method, path, sent in REQUESTS:
        expected = served.request(method, path, **sent)
        found = mounted.request(method, prefix + path, **sent)
        assert found.status_code == expected.status_code, (method, path, found.text)
        assert without_time(found) == without_time(expected)
        location = expected.headers.get("Location")
        assert found.headers.get("Location") == (location and prefix + location)
        assert found.headers.get("ETag") == expected.headers.get("ETag")
        assert found.headers["Cache-Control"] == "private, no-cache"


def is_now(name: str, value: object) -> bool:
    return name in ("updated_at", "at") and not str(value).startswith("2030")


def without_time(response: httpx.Response) -> object:
    def cleared(value: object) -> object:
        if isinstance(value, list):
            return [cleared(it) for it in value]
        if not isinstance(value, dict):
            return value
        return {name: cleared(it) for name, it in value.items() if not is_now(name, it)}

    return cleared(response.json()) if response.content else None


def test_a_key_says_who_is_asking_on_every_route(host):
    def ask(headers: dict[str, str], user: str | None = None) -> httpx.Response:
        return host.post(
            "/v1/chat/completions", json={"user": user} if user else {}, headers=headers
        )

    assert ask(ANN).json() == {"user": "ann", "salt": "user ann"}
    assert ask(ALL).json() == {"user": None, "salt": "key t2"}
    assert ask(ALL | {HEADER: "ben"}).json() == {"user": "ben", "salt": "user ben"}
    assert ask(ALL | {HEADER: "ben"}, "eve").json() == {"user": "eve", "salt": "user eve"}
    assert code_of(ask(ANN, "ben")) == (403, "forbidden")
    assert code_of(ask(ANN | {HEADER: "ben"})) == (403, "forbidden")
    assert code_of(ask({})) == (401, "invalid_api_key")
    assert code_of(ask(ALL, " ")) == (400, None)
    assert host.put("/v1/profiles/ann", json=BRIEF, headers=ANN).status_code == 201
    assert host.get("/v1/profiles/ann", headers=ALL).status_code == 200
    assert code_of(host.get("/v1/profiles/ben", headers=ANN)) == (403, "forbidden")
    assert code_of(host.get("/v1/profiles", headers=ANN)) == (403, "forbidden")
    assert code_of(host.get("/v1/profiles/ann")) == (401, "invalid_api_key")
    assert code_of(host.get("/v1/profiles/ann", headers=bearer("nobody's")))[0] == 401
    assert host.get("/v1/me", headers=ANN).json()["user_id"] == "ann"


def test_a_file_of_keys_counts_as_for_our_own_server(tmp_path):
    file = KeyFile(tmp_path / "keys.json")
    key = bearer(file.create(user_id="ann").text)
    host = client_of(make_host(Access(str(file.path))))
    assert host.get("/v1/me", headers=key).json()["user_id"] == "ann"
    file.revoke(lambda _: True)
    assert code_of(host.get("/v1/me", headers=key)) == (401, "invalid_api_key")


def test_the_host_keeps_its_own_errors_and_paths(host):
    assert host.get("/own/7").json() == 7
    assert host.get("/own/0").text == "the gateway's 418"
    assert host.get("/own/x").status_code == 422
    assert host.get("/v1/profile").text == "the gateway's 404"
    assert code_of(host.get("/v1/profiles/ann/nothing", headers=ANN)) == (404, "unknown_url")


def test_what_the_host_calls_a_caller_is_not_believed():
    app = make_host(Access(Tokens()))

    @app.middleware("http")
    async def sign_in(request: Request, call_next: Callable) -> httpx.Response:
        request.state.caller = Caller("the host's")
        request.state.user_id = "ben"
        return await call_next(request)

    assert code_of(client_of(app).get("/v1/profiles/ann"))[0] == 401


def test_requests_with_one_state_do_not_share_a_caller():
    host = make_host(Access(Tokens(), [HEADER]))
    state: dict[str, object] = {}  # of a server that gives every request the same one

    async def served(scope, receive, send):
        await host({**scope, "state": state}, receive, send)

    client = client_of(served)
    callers = [client.get("/v1/me", headers=it).json().get("key_id") for it in (ANN, ALL)]
    assert callers == ["t1", "t2"]
    users = [
        client.post("/v1/chat/completions", json={}, headers=it).json()["user"] for it in (ANN, ALL)
    ]
    assert users == ["ann", None]
    assert client.get("/v1/me").status_code == 401


async def test_a_request_leaves_its_key_behind():
    app = create_profiles_app(Access(Tokens()), ProfileService(None))
    transport = httpx.ASGITransport(app)  # calls the application in this very task
    async with httpx.AsyncClient(transport=transport, base_url=LOCAL) as client:
        assert (await client.get("/v1/me", headers=ANN)).json()["key_id"] == "t1"
    assert current_group() is None


def test_two_applications_of_one_request_do_not_share_its_caller():
    app = make_host(Access())
    app.mount("/keyed", create_profiles_app(Access(Tokens()), ProfileService(None)))

    @app.middleware("http")
    async def ask_first(request: Request, call_next: Callable) -> httpx.Response:
        await app.state.amulet.access.caller_of(request)
        return await call_next(request)

    client = client_of(app)
    assert client.get("/v1/me").json()["may_name_users"]
    assert client.get("/keyed/v1/me").status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "gateway.example"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "http://localhost:3000"}, 200),
    ],
)
def test_without_keys_only_this_machine_and_its_pages_are_answered(headers, status):
    client = client_of(make_host(Access(cors_origins=["http://localhost:3000"])))
    assert client.get("/v1/me", headers=headers).status_code == status
    answered = client.post("/v1/chat/completions", json={"user": "ann"}, headers=headers)
    assert answered.status_code == status
    assert client.get("/own/7", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("address", "status"),
    [("127.0.0.1", 200), ("::1", 200), ("10.0.0.7", 403), ("fe80::1", 403), ("203.0.113.9", 403)],
)
async def test_without_keys_other_machines_are_refused_whatever_they_send(local, address, status):
    transport = httpx.ASGITransport(local, client=(address, 4711))
    async with httpx.AsyncClient(transport=transport, base_url=LOCAL) as client:
        assert (await client.get("/v1/profiles")).status_code == status
        asked = await client.post("/v1/chat/completions", json={"user": "ann"})
        assert asked.status_code == status
        assert (await client.get("/own/7")).status_code == 200


@pytest.mark.parametrize("prefix", ["", "/amulet"])
async def test_bodies_are_bounded_and_read_for_valid_keys_alone(prefix):
    app = make_host(Access(Tokens()), prefix=prefix, max_body_size=1000)
    path = f"{prefix}/v1/profiles/ann"

    async def unread() -> AsyncIterator[bytes]:
        pytest.fail("the body of a refused request is not read")
        yield b""

    async def in_parts() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b" " * 100

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=LOCAL) as client:
        json = {"Content-Type": "application/json"}
        without_key = await client.put(path, content=unread(), headers=json)
        assert code_of(without_key) == (401, "invalid_api_key")
        long = ANN | json | {"Content-Length": "1001"}
        refused = await client.put(path, content=unread(), headers=long)
        assert code_of(refused) == (413, "body_too_large")
        assert "max_body_size" in refused.text
        in_chunks = await client.put(path, content=in_parts(), headers=ANN | json)
        assert code_of(in_chunks) == (413, "body_too_large")


def test_a_body_that_is_nested_too_deeply_is_refused(host):
    body = b'{"preferences": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    headers = ANN | {"Content-Type": "application/json"}
    assert code_of(host.put("/v1/profiles/ann", content=body, headers=headers))[0] == 400


@pytest.mark.parametrize("prefix", ["", "/amulet"])
def test_what_fails_unexpectedly_is_told_to_nobody(prefix, caplog):
    host = client_of(make_host(Access(Tokens()), prefix=prefix))
    headers = bearer("broken") | {"X-Request-Id": "id-7"}
    with caplog.at_level(logging.DEBUG):
        failed = host.get(f"{prefix}/v1/profiles/ann", headers=headers)
    assert code_of(failed) == (500, "internal_error")
    assert failed.headers["X-Request-Id"] == "id-7"
    assert "RuntimeError at " in caplog.text
    assert "id-7" in caplog.text
    assert "SECRET" not in failed.text + caplog.text


async def test_a_key_has_a_bounded_number_of_requests_in_work():
    app = make_host(Access(Tokens()), max_requests=1)

    async def slow() -> AsyncIterator[bytes]:
        other = await client.get("/v1/me", headers=ANN)
        assert code_of(other) == (429, "rate_limit_exceeded")
        assert "max_requests" in other.text
        assert (await client.get("/v1/me", headers=ALL)).status_code == 200
        yield b"{}"

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=LOCAL) as client:
        headers = ANN | {"Content-Type": "application/json"}
        made = await client.put("/v1/profiles/ann", content=slow(), headers=headers)
        assert made.status_code == 201
        assert (await client.get("/v1/me", headers=ANN)).status_code == 200


def test_the_host_and_the_routes_use_one_store(tmp_path):
    profiles = ProfileService(tmp_path / "profiles.db")
    host = client_of(make_host(Access(), profiles))
    store = profiles.open_store()
    assert store is not None
    assert store.get("ann") is None  # and is remembered
    host.put("/v1/profiles/ann", json=BRIEF)
    assert [it.text for it in store.get("ann").preferences] == ["Be brief."]
    with SqlProfileStore(tmp_path / "profiles.db") as other:
        other.save(PreferenceProfile(user_id="ann"))
    assert host.get("/v1/profiles/ann").json()["version"] == 2
    assert profiles.open_store() is store


def test_nothing_of_the_engine_is_imported(tmp_path):
    code = f"""
import sys
from fastapi import FastAPI
from fastapi.testclient import TestClient
from amulet_integrations.serving import Access, ProfileService, add_profile_routes

app = FastAPI()
add_profile_routes(app, Access(), ProfileService({str(tmp_path / "profiles.db")!r}))
client = TestClient(app, base_url="http://127.0.0.1")
assert client.put("/v1/profiles/ann", json={{"preferences": ["Be brief."]}}).status_code == 201
assert client.get("/v1/profiles/ann/explain").status_code == 200
heavy = ("torch", "transformers", "amulet_integrations.client", "uvicorn", "prometheus_client")
print([name for name in heavy if name in sys.modules])
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Access(user_headers=["Host"]), InvalidParamsError, "user_headers='Host'"),
        (lambda: Access({"token": "ann"}), InvalidParamsError, "afind"),
        (lambda: Access(user_headers="X-User"), InvalidParamsError, "list"),
        (lambda: Access(cors_origins=["*"]), InvalidParamsError, "cors_origins"),
        (lambda: ProfileService(7), ProfileStoreError, "int"),
        (lambda: ProfileService(InMemoryProfileStore), ProfileStoreError, "InMemoryProfileStore"),
        (lambda: ProfileService(max_guidance_scale=0), InvalidParamsError, "max_guidance_scale=0"),
        (lambda: ProfileService(timeout=-1), InvalidParamsError, "timeout=-1"),
        (lambda: ProfileService(ttl=-1), InvalidParamsError, "ttl=-1"),
        (lambda: ProfileService(preference_check=7), InvalidParamsError, "preference_check="),
        (lambda: make_host(Access(), prefix="amulet"), InvalidParamsError, "prefix='amulet'"),
        (lambda: make_host(Access(), prefix="/a/"), InvalidParamsError, "prefix='/a/'"),
        (lambda: make_host(Access(), max_requests=0), InvalidParamsError, "max_requests=0"),
    ],
)
def test_what_cannot_be_used_is_refused_where_it_is_given(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_the_routes_are_added_once(local):
    with pytest.raises(InvalidParamsError, match="already"):
        add_profile_routes(local, Access(), ProfileService(None))
