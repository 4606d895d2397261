"""`amulet serve --engine vllm` as a process: answers, streams, errors, clients that go, the end."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from openai import BadRequestError, OpenAI

from amulet_integrations.engine import LocalEngine
from amulet_integrations.errors import UnknownArgumentError, UnsupportedByEngineError
from amulet_integrations.langchain import ChatAmulet
from amulet_integrations.serving import ServerSettings, create_app
from tests.contract.subjects import vllm_folder

pytestmark = pytest.mark.model

OPTIONS = (
    "enforce_eager=true",
    "block_size=32",
    "max-model-len=2048",
    "max_num_seqs=16",
    "max_num_batched_tokens=512",
)
PREFERENCES = {"ann": "Answer like a friendly pirate.", "bob": "Answer in a single word."}
QUESTION = "What is the capital of France?"
MESSAGES = [{"role": "user", "content": QUESTION}]
CITY = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "country": {"type": "string"}},
    "required": ["name", "country"],
    "additionalProperties": False,
}


class Server(NamedTuple):
    """A server's process.

    Attributes:
        url: Its address.
        process: The process.
        log: The file that its log is written to.
        client: OpenAI's client of it.
    """

    url: str
    process: subprocess.Popen[bytes]
    log: Path
    client: OpenAI

    def ask(self, user: str | None = None, **options) -> str:
        extra = {} if user is None else {"user": user}
        answer = self.client.chat.completions.create(
            model="embedded", messages=MESSAGES, **{"max_tokens": 30, **extra, **options}
        )
        return answer.choices[0].message.content

    def stats(self) -> dict[str, int]:
        """How many requests are running and waiting, as the metrics say."""
        found = re.findall(
            r"^amulet_num_requests_(\w+) ([\d.]+)$",
            httpx.get(f"{self.url}/metrics").text,
            re.MULTILINE,
        )
        return {state: int(float(count)) for state, count in found}

    def until(self, running: int) -> None:
        """Waits until so many requests run, and none waits."""
        for _ in range(1000):
            stats = self.stats()
            if (sum(stats.values()), stats["running"]) == (running, running):
                return
            time.sleep(0.01)
        pytest.fail(f"{running} requests should run: {stats}")


def serve(*options: str) -> list[str]:
    named = [word for option in options for word in ("--engine-option", option)]
    command = [sys.executable, "-m", "amulet_integrations", "serve", "--engine", "vllm"]
    return [*command, "--port", "0", "--dtype", "float32", *named]


def start(folder: Path) -> tuple[subprocess.Popen[bytes], Path]:
    log = folder / "log"
    profiles = ["--profiles", str(folder / "profiles.db"), "--shutdown-timeout", "0.5"]
    with log.open("wb") as file:
        return subprocess.Popen([*serve(*OPTIONS), *profiles], stdout=file, stderr=file), log


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    process, log = start(tmp_path_factory.mktemp("server"))
    try:
        while (ready := re.search(r"Serving embedded on (http://\S+)\.", log.read_text())) is None:
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        client = OpenAI(base_url=f"{ready[1]}/v1", api_key="none", max_retries=0, timeout=60)
        for user, preference in PREFERENCES.items():
            profile = httpx.put(
                f"{ready[1]}/v1/profiles/{user}", json={"preferences": [preference]}
            )
            assert profile.is_success, profile.text
        yield Server(ready[1], process, log, client)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def local() -> Iterator[ChatAmulet]:
    with LocalEngine.from_pretrained(dtype="float32") as engine:
        yield ChatAmulet(engine=engine, profiles=None, max_tokens=30)


def test_two_users_have_the_answers_that_the_local_engine_gives_them(server, local):
    answers = {user: server.ask(user) for user in PREFERENCES}
    assert answers == {
        user: local.invoke(QUESTION, preference=preference).text
        for user, preference in PREFERENCES.items()
    }
    assert server.ask() == local.invoke(QUESTION).text
    assert answers["ann"] != answers["bob"]


def test_a_stream_is_the_whole_answer_in_parts(server):
    parts = server.client.chat.completions.create(
        model="embedded", messages=MESSAGES, max_tokens=30, user="ann", stream=True
    )
    texts = [part.choices[0].delta.content or "" for part in parts]
    assert len(texts) > 3
    assert "".join(texts) == server.ask("ann")


def test_an_object_and_a_call_follow_their_schemas(server):
    schema = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY}}
    city = json.loads(server.ask("ann", response_format=schema, max_tokens=60))
    assert city.keys() == {"name", "country"}
    answer = server.client.chat.completions.create(
        model="embedded",
        messages=MESSAGES,
        tools=[{"type": "function", "function": {"name": "look_up", "parameters": CITY}}],
        tool_choice="required",
        max_tokens=60,
        user="ann",
    )
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == "look_up"
    assert json.loads(call.function.arguments).keys() == {"name", "country"}


def test_an_error_is_openais_and_disturbs_nobody(server):
    for options in ({"temperature": -1}, {"extra_body": {"no_such_thing": 1}}):
        with pytest.raises(BadRequestError):
            server.ask("ann", **options)
    too_long = [{"role": "user", "content": "word " * 3000}]
    with pytest.raises(BadRequestError) as refused:
        server.client.chat.completions.create(model="embedded", messages=too_long, max_tokens=5)
    assert refused.value.code == "context_length_exceeded"
    models = server.client.models.list().data
    assert [(model.id, model.max_model_len) for model in models] == [("embedded", 2048)]
    assert server.ask("bob") == server.ask("bob")


def test_a_client_that_goes_away_leaves_its_room_to_others(server):
    long = {"model": "embedded", "messages": MESSAGES, "max_tokens": 1500, "min_tokens": 1500}
    body = {**long, "stream": True, "user": "ann"}
    with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body, timeout=60) as gone:
        assert gone.is_success, gone.read()
        lines = gone.iter_lines()  # which closes the stream when it is dropped
        next(lines)
        server.until(running=1)
    server.until(running=0)
    assert server.ask("bob") == server.ask("bob")


def test_a_signal_ends_the_server_in_order(server):
    body = {"model": "embedded", "messages": MESSAGES, "max_tokens": 1500, "min_tokens": 1500}
    address = f"{server.url}/v1/chat/completions"
    with httpx.stream("POST", address, json={**body, "stream": True}, timeout=60) as running:
        lines = running.iter_lines()
        next(lines)
        server.process.send_signal(signal.SIGTERM)
        last = [line for line in lines if line][-1]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "shutting_down"
    assert server.process.wait(30) == 0
    log = server.log.read_text()
    assert "Traceback" not in log
    assert not any(text in log for text in (*PREFERENCES.values(), QUESTION))


def test_an_option_that_vllm_refuses_ends_the_command_with_our_error():
    command = [*serve("max_model_len=1000000"), "--model", vllm_folder()]
    ended = subprocess.run(command, capture_output=True, check=False, text=True, timeout=240)
    assert ended.returncode == 2
    assert "max_model_len=1000000 " in ended.stderr.splitlines()[-1], ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_num_seq": 4}, UnknownArgumentError, "did you mean 'max_num_seqs'?"),
        ({"scheduler_cls": "a.B"}, UnsupportedByEngineError, "scheduler_cls='a.B'"),
    ],
)
def test_an_option_that_vllm_does_not_have_is_refused_when_the_application_is_made(
    options, error, message
):
    with pytest.raises(error, match=re.escape(message)):
        create_app(ServerSettings(engine="vllm", engine_options=options, profiles=None))
