"""The ingress in front of replicas that are written here: what it forwards, repeats and refuses."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable
from typing import Any

import httpx
import pytest
from starlette.types import Message

from amulet_integrations.serving import ServerSettings
from amulet_integrations.serving.access.key_file import KeyFile
from amulet_integrations.serving.api_errors import ApiError
from amulet_integrations.serving.ray.forwarded_request import ForwardedRequest, ReplicaLostError
from amulet_integrations.serving.ray.ingress_layers import make_ingress

Answer = Callable[[ForwardedRequest], AsyncGenerator[list[Message], None]]
CHAT = "/v1/chat/completions"


def start(kind: str = "application/json", status: int = 200) -> Message:
    headers = [(b"content-type", kind.encode()), (b"x-request-id", b"of-the-replica")]
    return {"type": "http.response.start", "status": status, "headers": headers}


def body(text: str, *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": text.encode(), "more_body": more}


async def whole(_request: ForwardedRequest) -> AsyncGenerator[list[Message], None]:
    yield [start(), body("{}")]


async def allows_a_page(_request: ForwardedRequest) -> AsyncGenerator[list[Message], None]:
    allowed = (b"access-control-allow-origin", b"http://localhost:3000")
    yield [{**start(), "headers": [*start()["headers"], allowed]}, body("{}")]


async def dies(_request: ForwardedRequest) -> AsyncGenerator[list[Message], None]:
    yield [start()]  # nobody has seen it yet
    raise ReplicaLostError


async def dies_in_the_stream(_request: ForwardedRequest) -> AsyncGenerator[list[Message], None]:
    yield [start("text/event-stream"), body("data: 1\n\n", more=True)]
    raise ReplicaLostError


async def is_full(_request: ForwardedRequest) -> AsyncGenerator[list[Message], None]:
    raise ApiError.too_many("All are full.", code="engine_overloaded")
    yield []


async def fails(request: ForwardedRequest) -> AsyncGenerator[list[Message], None]:
    raise ValueError(request.body)
    yield []


async def hangs(_request: ForwardedRequest) -> AsyncGenerator[list[Message], None]:
    await asyncio.Event().wait()
    yield []


class Replicas:
    """Answer one after the other as they are told to; keep what they were asked."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[ForwardedRequest, str]] = []

    def answer(
        self, request: ForwardedRequest, session: str
    ) -> AsyncGenerator[list[Message], None]:
        self.asked.append((request, session))
        return self._answers.pop(0)(request)

    async def are_ready(self) -> bool:
        return bool(self._answers)

    async def metrics(self) -> dict[str, bytes]:
        page = b"# HELP amulet_x_total X.\n# TYPE amulet_x_total counter\namulet_x_total 2.0\n"
        return {"one": page, "two": page}

    @property
    def sessions(self) -> list[str]:
        return [session for _, session in self.asked]


def client(replicas: Replicas, address: str = "127.0.0.1", **given: Any) -> httpx.AsyncClient:
    app = make_ingress(replicas, ServerSettings(**given))
    transport = httpx.ASGITransport(app, client=(address, 1))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")


async def test_the_request_reaches_a_replica_as_it_was_sent() -> None:
    replicas = Replicas(whole)
    answer = await client(replicas).post(f"{CHAT}?a=1", content=b'{"x": 1}', headers={"X-A": "b"})
    assert (answer.status_code, answer.text) == (200, "{}")
    assert "x-request-id" not in answer.headers  # Ray Serve adds one
    ((request, _),) = replicas.asked
    assert request.body == b'{"x": 1}'
    assert request.scope["path"] == CHAT
    assert request.scope["query_string"] == b"a=1"
    assert (b"x-a", b"b") in request.scope["headers"]


async def test_requests_of_a_user_have_one_session_however_the_user_is_named(tmp_path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    ann, chat = file.create(user_id="ann").text, file.create(application="chat").text
    asked = [
        (ann, {}, {}),
        (chat, {"user": "ann"}, {}),
        (chat, {}, {"X-User": "ann"}),
        (chat, {"user": "ann"}, {"X-User": "ben"}),  # the body goes first, as at the server
        (chat, {"user": "ben"}, {}),
        (chat, {}, {}),
        (ann, {"user": "ben"}, {}),  # a replica refuses it
        ("no key", {"user": "ann"}, {}),
        (chat, {"user": 7}, {}),
    ]
    replicas = Replicas(*[whole] * len(asked))
    http = client(replicas, keys=file.path, user_headers=("X-User",))
    for key, sent, headers in asked:
        await http.post(CHAT, json=sent, headers={"Authorization": f"Bearer {key}", **headers})
    *same, other, nobody, foreign, odd = replicas.sessions  # no replica sees the one without key
    assert len(set(same)) == 1
    assert "ann" not in same[0]
    assert other not in ("", same[0])
    assert (nobody, odd) == ("", "")
    assert foreign == same[0]  # the key's user; the body of a user's key is not even read


UNREADABLE = [b"", b"{", b"[" * 100_000, b'"ann"', b'{"user": null}', b"\xff", b"9" * 5_000]


@pytest.mark.parametrize("sent", UNREADABLE)
async def test_a_body_that_cannot_be_read_is_for_a_replica_to_refuse(sent: bytes) -> None:
    replicas = Replicas(whole)
    assert (await client(replicas).post(CHAT, content=sent)).status_code == 200
    assert replicas.sessions == [""]


async def test_half_of_a_surrogate_pair_is_for_a_replica_to_refuse() -> None:
    replicas = Replicas(whole)
    assert (await client(replicas).post(CHAT, content=rb'{"user": "\ud800"}')).status_code == 200


async def test_nothing_of_a_body_is_taken_without_a_key(tmp_path) -> None:
    file, replicas, taken = KeyFile(tmp_path / "keys.json"), Replicas(whole), []
    file.create(user_id="ann")

    async def chunks() -> AsyncGenerator[bytes, None]:
        taken.append(True)
        yield b"{}"

    answer = await client(replicas, keys=file.path).post(CHAT, content=chunks())
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    assert not taken
    assert not replicas.asked  # so that it takes no place that others wait for
    page = await client(replicas, keys=file.path).post("/", content=chunks())
    assert page.status_code == 200
    assert not taken


@pytest.mark.parametrize("path", ["/metrics", "/readyz", "/healthz", "/", "/v1/models"])
async def test_without_keys_this_machine_alone_is_served(path) -> None:
    replicas = Replicas()
    far = await client(replicas, address="192.0.2.7").get(path)
    assert far.status_code == 403
    rebound = await client(replicas).get(path, headers={"Host": "a-page-of-another.example"})
    assert rebound.status_code == 403
    assert not replicas.asked


@pytest.mark.parametrize("path", ["/v1/models", CHAT])
async def test_pages_of_other_origins_may_read_errors_of_the_ingress(path, tmp_path) -> None:
    file, origin = KeyFile(tmp_path / "keys.json"), "http://localhost:3000"
    key = file.create(application="chat").text
    given = {"keys": file.path, "cors_origins": (origin,), "max_body_size": 10}
    http = client(Replicas(allows_a_page), **given)
    for headers, status in (
        ({}, 401),
        ({"Authorization": f"Bearer {key}", "Content-Length": "11"}, 413),
        ({"Authorization": f"Bearer {key}"}, 200),
    ):
        answer = await http.post(path, headers={"Origin": origin, **headers})
        assert answer.status_code == status
        assert answer.headers.get_list("Access-Control-Allow-Origin") == [origin]
        assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"]


async def test_a_page_asks_beforehand_without_a_key(tmp_path) -> None:
    file, origin = KeyFile(tmp_path / "keys.json"), "http://localhost:3000"
    file.create(application="chat")
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    http = client(Replicas(), keys=file.path, cors_origins=(origin,))
    answer = await http.options(CHAT, headers=asked)
    assert answer.status_code == 200
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]


async def test_there_are_no_websockets() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    scope = {"type": "websocket", "path": CHAT, "headers": [(b"host", b"127.0.0.1")]}
    await make_ingress(Replicas(), ServerSettings())(scope, receive, send)
    assert [it["type"] for it in sent] == ["websocket.close"]


@pytest.mark.parametrize(
    ("method", "path", "repeated"),
    [
        ("POST", CHAT, True),
        ("POST", "/v1/completions", True),
        ("GET", "/v1/profiles/ann", True),
        ("PUT", "/v1/profiles/ann", False),
        ("PATCH", "/v1/profiles/ann", False),
        ("DELETE", "/v1/profiles/ann", False),
        ("POST", "/v1/profiles/ann/restore", False),
    ],
)
async def test_what_changes_nothing_is_sent_to_another_replica(method, path, repeated) -> None:
    replicas = Replicas(dies, whole)
    answer = await client(replicas).request(method, path, content=b'{"user": "ann"}')
    assert len(replicas.asked) == 1 + repeated
    if repeated:
        assert answer.status_code == 200
        assert replicas.sessions[0] == replicas.sessions[1]
    else:
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "replica_lost")
        assert "It may have been done" in answer.text
        assert answer.headers["Retry-After"]


async def test_a_request_that_ends_replicas_does_not_end_all() -> None:
    replicas = Replicas(dies, dies, whole)
    answer = await client(replicas).post(CHAT, json={})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "replica_lost")
    assert len(replicas.asked) == 2


async def test_a_stream_that_had_begun_ends_with_an_error() -> None:
    replicas = Replicas(dies_in_the_stream, whole)
    answer = await client(replicas).post(CHAT, json={"stream": True})
    first, last = answer.text.strip().split("\n\n")
    assert first == "data: 1"
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "replica_lost"
    assert len(replicas.asked) == 1


@pytest.mark.parametrize(
    ("replica", "status", "code"),
    [(is_full, 429, "engine_overloaded"), (fails, 500, "internal_error"), (hangs, 504, "timeout")],
)
async def test_errors_have_openais_form_and_a_line_in_the_log_without_texts(
    replica, status, code, caplog, monkeypatch
) -> None:
    monkeypatch.setattr("amulet_integrations.serving.ray.user_ingress._GRACE", 0.0)
    caplog.set_level(logging.INFO, logger="amulet_integrations")
    http = client(Replicas(replica), timeout=0.05)
    answer = await http.post(CHAT, content=b"a private text")
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert ("Retry-After" in answer.headers) == (status == 429)
    (line,) = [it for it in caplog.records if it.getMessage() == "request"]
    assert line.amulet_fields["status"] == status
    assert "private" not in caplog.text + str([vars(it) for it in caplog.records])


async def test_a_body_is_bounded_before_a_replica_sees_it() -> None:
    replicas = Replicas(whole)
    answer = await client(replicas, max_body_size=10).post(CHAT, content=b"x" * 11)
    assert answer.status_code == 413
    chunks = client(replicas, max_body_size=10).post(CHAT, content=in_chunks())
    assert (await chunks).status_code == 413
    assert not replicas.asked


@pytest.mark.parametrize(("size", "status"), [(5, 401), (11, 413)])
async def test_what_is_refused_before_a_replica_has_a_line_in_the_log(
    size, status, tmp_path, caplog
) -> None:
    caplog.set_level(logging.INFO, logger="amulet_integrations")
    file = KeyFile(tmp_path / "keys.json")
    file.create(application="chat")
    await client(Replicas(), keys=file.path, max_body_size=10).post(CHAT, content=b"x" * size)
    (line,) = [it for it in caplog.records if it.getMessage() == "request"]
    assert (line.amulet_fields["status"], line.amulet_fields["route"]) == (status, CHAT)


async def in_chunks() -> AsyncGenerator[bytes, None]:
    for _ in range(3):
        yield b"x" * 5


async def test_what_machines_ask_is_asked_of_all_replicas() -> None:
    http = client(Replicas(whole))
    assert (await http.get("/readyz")).status_code == 200
    assert (await client(Replicas()).get("/readyz")).status_code == 503
    assert (await client(Replicas()).get("/healthz")).status_code == 200
    page = (await http.get("/metrics")).text
    assert page.count("# TYPE amulet_x_total counter") == 1
    assert 'amulet_x_total{replica="one"} 2.0' in page
    assert 'amulet_x_total{replica="two"} 2.0' in page
