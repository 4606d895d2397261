"""Slow senders, slow readers and too many connections, with real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from tests.support.served.routes import make_app, until
from tests.support.serving import serve_app

TIMEOUT = 0.3
PATIENCE = 1.5  # for those who are slow, but in time, however busy the machine is
HEAD = b"POST /v1/try/raw HTTP/1.1\r\nHost: localhost\r\n"


def app_of(engine, timeout: float):
    return make_app(engine, receive_timeout=timeout, send_timeout=timeout, max_connections=20)


def address_of(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("http://").partition(":")
    return host, int(port)


@pytest.fixture(scope="module")
def app(tiny_engine):
    return app_of(tiny_engine, TIMEOUT)


@pytest.fixture(scope="module")
def address(app):
    with serve_app(app) as url:
        yield address_of(url)


@pytest.fixture(scope="module")
def patient_app(tiny_engine):
    return app_of(tiny_engine, PATIENCE)


@pytest.fixture(scope="module")
def patient_address(patient_app):
    with serve_app(patient_app) as url:
        yield address_of(url)


@asynccontextmanager
async def connected(address) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(*address, limit=1024)
    try:
        yield reader, writer
    finally:
        writer.close()


async def read_to_end(reader: asyncio.StreamReader) -> bytes:
    """All that arrives until the server closes the connection."""
    received = b""
    try:
        while piece := await asyncio.wait_for(reader.read(65_536), 20):
            received += piece
    except ConnectionResetError:
        pass
    return received


@pytest.mark.parametrize(
    "sent",
    [b"", b"\r\n", b"GE", HEAD, HEAD + b"X: " + b"y" * 200],
    ids=["nothing", "a blank line", "two letters", "half of the headers", "half a header"],
)
async def test_headers_that_do_not_come_end_the_connection(address, sent):
    async with connected(address) as (reader, writer):
        writer.write(sent)
        assert not (await read_to_end(reader)).startswith(b"HTTP/1.1 200")


async def test_headers_that_come_byte_by_byte_end_the_connection(address):
    async with connected(address) as (reader, writer):
        reading = asyncio.create_task(read_to_end(reader))
        for byte in HEAD * 3:
            if reading.done():
                break
            writer.write(bytes([byte]))
            await asyncio.sleep(0.02)
        assert reading.done()


async def test_a_second_request_has_the_same_time_as_the_first(patient_address):
    async with connected(patient_address) as (reader, writer):
        for _ in range(3):
            writer.write(HEAD + b"Content-Length: 2\r\n\r\nab")
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
            assert b"200 OK" in head
            assert await reader.readexactly(11) == b'{"bytes":2}'
            await asyncio.sleep(PATIENCE / 2)
        writer.write(HEAD)
        assert await read_to_end(reader) == b""


async def test_requests_that_come_together_are_all_answered(patient_address):
    async with connected(patient_address) as (reader, writer):
        writer.write((HEAD + b"Content-Length: 2\r\n\r\nab") * 3 + HEAD)
        assert (await read_to_end(reader)).count(b'{"bytes":2}') == 3


async def test_a_body_that_does_not_come_is_answered_and_ends_the_connection(address):
    async with connected(address) as (reader, writer):
        writer.write(HEAD + b"Content-Length: 5\r\n\r\nab")
        received = await read_to_end(reader)
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408")
    assert json.loads(body)["error"]["code"] == "slow_request"


async def wait_for_end(app, name: str) -> None:
    await until(lambda: name in app.state.ended)
    app.state.ended.remove(name)


async def test_a_client_that_takes_nothing_is_cut_off_and_its_work_ends(app, address):
    async with connected(address) as (_reader, writer):
        writer.write(b"GET /v1/try/flood HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await wait_for_end(app, "flood")


async def test_a_client_that_reads_slowly_is_served(patient_app, patient_address):
    async with connected(patient_address) as (reader, writer):
        writer.write(b"GET /v1/try/flood HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for _ in range(10):
            await reader.readexactly(1_000_000)
            await asyncio.sleep(PATIENCE / 6)
        assert "flood" not in patient_app.state.ended
    await wait_for_end(patient_app, "flood")


@pytest.mark.parametrize(
    ("request_line", "name"), [("GET /v1/try/stream", "stream"), ("POST /v1/try/wait", "wait")]
)
async def test_work_ends_when_the_client_hangs_up(app, address, request_line, name):
    async with connected(address) as (reader, writer):
        head = f"{request_line} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
        writer.write(f"{head}Content-Type: application/json\r\n\r\n{{}}".encode())
        if name == "stream":
            await reader.readuntil(b"data: 1")
        else:
            await asyncio.sleep(0.1)
    await wait_for_end(app, name)


async def test_more_connections_than_may_be_are_sent_away(patient_address):
    host, port = patient_address
    opened = [await asyncio.open_connection(host, port) for _ in range(20)]
    async with httpx.AsyncClient(base_url=f"http://{host}:{port}") as client:
        answer = await client.get("/healthz")
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "too_many_connections"
        assert answer.headers["retry-after"]
    for _, writer in opened:
        writer.close()
        await writer.wait_closed()
    async with httpx.AsyncClient(base_url=f"http://{host}:{port}") as client:
        for _ in range(100):
            if (await client.get("/healthz")).status_code == 200:
                break
            await asyncio.sleep(0.05)
        else:
            pytest.fail("the server does not serve again")


def test_clients_that_were_cut_off_are_counted(app, patient_app):
    quick, patient = (each.state.amulet.metrics.page().decode() for each in (app, patient_app))
    for reason in ("slow_request", "slow_reader"):
        assert f'amulet_refusals_total{{reason="{reason}"}}' in quick
    assert 'amulet_refusals_total{reason="too_many_connections"}' in patient
