"""How a server's process starts and ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx
import pytest

from amulet_integrations.errors import AmuletError, InvalidParamsError
from amulet_integrations.serving import ServerSettings, run
from amulet_integrations.serving.run import bind_sockets
from tests.support import tiny

SHUTDOWN_TIMEOUT = 0.5


def start(**settings) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.served.process", json.dumps(settings)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def address_of(server: subprocess.Popen[str]) -> str:
    assert server.stdout is not None
    line = server.stdout.readline()
    assert line.startswith("Serving "), server.communicate()
    return next(word for word in line.split() if word.startswith("http://"))


@pytest.fixture(scope="module")
def servers():
    """Two servers, which load their libraries at the same time."""
    processes = [start(shutdown_timeout=SHUTDOWN_TIMEOUT), start(shutdown_timeout=60.0)]
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


@contextmanager
def streaming(url: str):
    with (
        httpx.Client(base_url=url, timeout=20) as client,
        client.stream("GET", "/v1/try/stream") as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines) == "data: 1"
        yield lines


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz").is_success
    except httpx.TransportError:
        return False


def test_a_signal_ends_running_streams_in_time_and_in_order(servers):
    server, _ = servers
    url = address_of(server)
    with streaming(url) as lines, httpx.Client(base_url=url) as other:
        assert other.get("/readyz").status_code == 200
        sent = time.monotonic()
        server.send_signal(signal.SIGTERM)
        rest = [line for line in lines if line]
        spent = time.monotonic() - sent
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{url}/healthz")
    (last,) = rest
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "shutting_down"
    assert SHUTDOWN_TIMEOUT <= spent < 10
    _, log = server.communicate(timeout=20)
    assert server.returncode == 0, log
    lines = [json.loads(line) for line in log.splitlines()]
    assert [it["route"] for it in lines if it["message"] == "request"] == ["/v1/try/stream"]
    assert "Traceback" not in log


@pytest.mark.parametrize("second", [signal.SIGINT])
def test_a_second_signal_ends_the_server_at_once(servers, second):
    _, server = servers
    url = address_of(server)
    with streaming(url):
        server.send_signal(signal.SIGTERM)
        while answers(url):  # it refuses what is new, and waits for the stream
            time.sleep(0.01)
        server.send_signal(second)
        assert server.wait(5) == -second


def test_a_model_that_cannot_be_loaded_ends_the_server_with_our_error(tmp_path, monkeypatch):
    tiny.tiny_model().save_pretrained(tmp_path)
    tiny.tiny_tokenizer().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    monkeypatch.setattr(run, "log_config", lambda: None)
    said: list[str] = []
    settings = ServerSettings(model=str(tmp_path), port=0, profiles=None)
    with pytest.raises(AmuletError):
        run.run_server(settings, on_ready=said.append)
    assert not said


def test_a_port_that_is_taken_is_refused_before_anything_is_loaded():
    (taken,) = bind_sockets("127.0.0.1", 0)
    with taken:
        port = taken.getsockname()[1]
        with pytest.raises(InvalidParamsError, match=rf"port={port}.*in use"):
            bind_sockets("127.0.0.1", port)
    with pytest.raises(InvalidParamsError, match="no\\.such\\.host"):
        bind_sockets("no.such.host.invalid", 0)
