"""Requests that no client library sends, byte by byte to a real server."""

from __future__ import annotations

import json
import logging
import re
import socket
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from amulet_integrations.engine import LocalEngine
from amulet_integrations.serving import ServerSettings, create_app
from amulet_integrations.serving.access.key_file import KeyFile
from amulet_integrations.serving.operations.access_log import JSONFormatter
from tests.support.serving import serve_app


class Listening(NamedTuple):
    port: int
    key: str

    def ask(self, *headers: str, target: str = "/v1/me", version: str = "1.1") -> tuple[int, str]:
        """The status and the body of the answer to a GET; (0, "") where there is none."""
        lines = [f"GET {target} HTTP/{version}", *headers, "Connection: close", "", ""]
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            try:
                connection.sendall("\r\n".join(lines).encode())
                answer = b"".join(iter(lambda: connection.recv(65_536), b""))
            except ConnectionError:
                return 0, ""
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]) if head else 0, body.decode()


@pytest.fixture(scope="module")
def keyed(
    tmp_path_factory: pytest.TempPathFactory, tiny_engine: LocalEngine
) -> Iterator[Listening]:
    file = KeyFile(tmp_path_factory.mktemp("keys") / "keys.json")
    key = file.create(user_id="ann").text
    settings = ServerSettings(profiles=None, keys=file.path, user_headers=("X-User",))
    with serve_app(create_app(settings, engine=tiny_engine)) as url:
        yield Listening(int(url.rpartition(":")[2]), key)


@pytest.fixture(scope="module")
def keyless(tiny_engine: LocalEngine) -> Iterator[Listening]:
    with serve_app(create_app(ServerSettings(profiles=None), engine=tiny_engine)) as url:
        yield Listening(int(url.rpartition(":")[2]), "")


def test_a_key_is_found_whatever_the_spelling_of_its_header(keyed: Listening) -> None:
    for name in ("Authorization", "authorization", "AUTHORIZATION"):
        status, body = keyed.ask("Host: x", f"{name}:\t Bearer {keyed.key} ")
        assert (status, json.loads(body)["user_id"]) == (200, "ann")


def test_odd_headers_let_nobody_in(keyed: Listening) -> None:
    right = f"Authorization: Bearer {keyed.key}"
    for headers in (
        [right, right],
        [right, "Authorization: Bearer x"],
        ["Authorization: Bearer x", right],
        [right, "X-User: bob"],
        [right, "X-User: ann", "X-User: bob"],
        [right, "X-User: ann", "x-user: ann"],
        [right, "X-User: "],
        [f"Authorization : Bearer {keyed.key}"],
        [f"Authorization: Bearer\r\n {keyed.key}x"],
        [f"Authorization: Bearer {keyed.key}\x00"],
        [f"Authorization_: Bearer {keyed.key}"],
        ["Authorization: Bearer " + "x" * 60_000],
        ["Authorization: Bearer " + "x" * 5_000_000],
        ["Authorization: Bearer é"],
        [f"X-Forwarded-Authorization: Bearer {keyed.key}", "X-Forwarded-For: 127.0.0.1"],
    ):
        status, body = keyed.ask("Host: x", *headers)
        assert status in (0, 400, 401, 403, 431), headers[0][:80]
        assert "ann" not in body or status == 403
    assert keyed.ask("Host: x", right)[0] == 200


def test_a_target_with_a_key_or_another_host_lets_nobody_in(keyed: Listening) -> None:
    for target in (
        f"/v1/me?key={keyed.key}",
        f"/v1/me?Authorization=Bearer%20{keyed.key}",
        f"http://ann:{keyed.key}@127.0.0.1/v1/me",
        f"//v1/me?api_key={keyed.key}",
    ):
        status, _ = keyed.ask("Host: x", target=target)
        assert status in (400, 401, 404)


def test_a_server_without_keys_answers_under_one_name_of_this_machine(keyless: Listening) -> None:
    own = f"Host: localhost:{keyless.port}"
    assert keyless.ask(own)[0] == 200
    for headers in (
        [],
        ["Host:"],
        ["Host: evil.example"],
        [own, "Host: evil.example"],
        ["Host: evil.example", own],
        [own, own],
        ["Host: localhost\x00.evil.example"],
        ["X-Forwarded-Host: localhost", "Host: evil.example"],
        [own, "Origin: http://evil.example"],
        [own, f"Origin: http://localhost:{keyless.port}", "Origin: http://evil.example"],
    ):
        for version in ("1.1", "1.0"):
            assert keyless.ask(*headers, version=version)[0] in (400, 403), headers
    status, _ = keyless.ask(own, target="http://evil.example/v1/me")
    assert status in (400, 403, 404)


def test_a_body_of_two_lengths_ends_the_connection(keyed: Listening) -> None:
    own = f"GET /v1/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {keyed.key}\r\n\r\n"
    for key in (f"Authorization: Bearer {keyed.key}\r\n", ""):
        request = (
            f"POST /v1/completions HTTP/1.1\r\nHost: x\r\n{key}Content-Type: application/json\r\n"
            f"Content-Length: {len(own) + 5}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{own}"
        )
        with socket.create_connection(("127.0.0.1", keyed.port), timeout=10) as connection:
            connection.sendall(request.encode())
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
        assert answer.count(b"HTTP/1.1 ") == 1, "what follows the body is a request of its own"
        assert answer.startswith(b"HTTP/1.1 400")
        assert b'"ann"' not in answer


WHOLE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
CHUNKED = b"POST /v1/me HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"GET /healthz\r\nX: \x00\r\n\r\n",
        WHOLE + b"\x00\r\n\r\n",
        CHUNKED + b"not a length\r\n",
    ],
    ids=["TLS", "no host", "no version", "after a request", "in a body"],
)
def test_what_is_no_http_is_an_error_with_an_id_that_is_in_the_log(
    keyless: Listening, caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    caplog.handler.setFormatter(JSONFormatter())
    with (
        caplog.at_level(logging.INFO, "amulet_integrations.serving"),
        socket.create_connection(("127.0.0.1", keyless.port), timeout=10) as connection,
    ):
        connection.sendall(sent)
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    *_, head, body = answer.decode().split("\r\n\r\n")
    assert " 400 " in head
    assert json.loads(body)["error"]["code"] == "invalid_http"
    (request_id,) = re.findall(r"(?i)x-request-id: (\w+)", head)
    lines = [json.loads(line) for line in caplog.text.splitlines()]
    (line,) = (it for it in lines if it.get("request_id") == request_id)
    assert (line["status"], line["code"]) == (400, "invalid_http")
    assert "error" not in {it["level"] for it in lines}
