"""What the pages say about the server is sent to one: curl's commands, and the clients' code."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from amulet_integrations.cli.app import app as command_line
from amulet_integrations.engine import LocalEngine
from amulet_integrations.serving import ServerSettings, create_app
from amulet_integrations.serving.openai_api.requests.chat_request import ChatRequest
from amulet_integrations.serving.openai_api.requests.completion_request import CompletionRequest
from amulet_integrations.serving.openai_api.requests.request_model import RequestModel
from tests.integration.test_docs import checking_print
from tests.support.serving import serve_app
from tests.support.tiny import tiny_model, tiny_tokenizer
from tests.unit.serving.curl import CurlRequest, curl_requests
from tests.unit.test_docs import CODE, ROOT

ADDRESS = "http://127.0.0.1:8000"
PAGES = [ROOT / "README.md", ROOT / "docs/server.md", ROOT / "docs/own_server.md"]
FEWEST = {"server": 12}  # requests that a page shows; of others one


@dataclass
class Servers:
    """Two servers on the same profiles: one without keys, one with the keys of the page.

    Attributes:
        open_url: The one without keys.
        keyed_url: The one with keys.
        keys: The keys, by the names that the page gives them.
    """

    open_url: str
    keyed_url: str
    keys: dict[str, str]

    def url_for(self, code: str) -> str:
        return self.keyed_url if any(name in code for name in self.keys) else self.open_url

    def send(self, request: CurlRequest, command: str) -> None:
        url = request.url.replace(ADDRESS, self.url_for(command))
        response = httpx.request(
            request.method, url, headers=request.headers, content=request.body, timeout=30
        )
        status = response.status_code
        expected = status == request.status if request.status else response.is_success
        assert expected, f"{request.method} {url}: {status} {response.text}"


def create_key(keys: Path, *whose: str) -> str:
    made = CliRunner().invoke(command_line, ["keys", "create", *whose, "--keys", str(keys)])
    assert made.exit_code == 0, made.stderr
    return made.stdout.splitlines()[-1]


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Servers]:
    keys = tmp_path / "keys.json"
    made = {
        "AMULET_KEY": create_key(keys, "--user", "ann"),
        "APP_KEY": create_key(keys, "--application", "chat"),
    }
    for name, key in made.items():
        monkeypatch.setenv(name, key)
    common = {"profiles": tmp_path / "profiles.db", "default_max_tokens": 8}
    with LocalEngine(tiny_model(), tiny_tokenizer(), model_name="embedded") as engine:
        open_app = create_app(ServerSettings(**common), engine=engine)
        settings = ServerSettings(keys=keys, user_headers=("X-OpenWebUI-User-Id",), **common)
        keyed_app = create_app(settings, engine=engine)
        with serve_app(open_app) as open_url, serve_app(keyed_app) as keyed_url:
            yield Servers(open_url, keyed_url, made)


def run_commands(code: str, servers: Servers) -> int:
    requests = list(curl_requests(code, servers.keys))
    for request in requests:
        servers.send(request, code)
    return len(requests)


def run_python(code: str, servers: Servers) -> int:
    code = code.replace(ADDRESS, servers.url_for(code))
    broken: list[str] = []
    names = {"print": checking_print(code.splitlines(), broken)}
    exec(compile(code, "a page", "exec", dont_inherit=True), names)  # noqa: S102 - our own page
    assert not broken
    return 1


READERS: dict[str, Callable[[str, Servers], int]] = {
    "bash": run_commands,
    "console": run_commands,
    "python": run_python,
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_server_answers_as_the_page_says(page: Path, servers: Servers) -> None:
    sent = 0
    for block in CODE.finditer(page.read_text(encoding="utf-8")):
        if ADDRESS in block["code"] and block["language"] in READERS:
            sent += READERS[block["language"]](block["code"], servers)
    assert sent >= FEWEST.get(page.stem, 1)


@pytest.mark.parametrize("ours", [ChatRequest, CompletionRequest])
def test_the_page_says_of_each_parameter_what_becomes_of_it(ours: type[RequestModel]) -> None:
    page = PAGES[1].read_text(encoding="utf-8")
    table = page.partition("## What is supported")[2].partition("No parameter is dropped")[0]
    rows = {row: set(re.findall(r"`([a-z_]+)[`:]", row)) for row in table.splitlines()}
    ignored = {name for row, names in rows.items() if "| accepted;" in row for name in names}
    refused = {name for row, names in rows.items() if "| refused, unless" in row for name in names}
    assert ignored & ours.model_fields.keys() <= ours.accepted.keys()
    assert refused & ours.model_fields.keys() <= ours.neutral.keys()
    supported = ours.model_fields.keys() - ours.accepted.keys() - ours.neutral.keys() - {"amulet"}
    assert supported <= set().union(*rows.values()) - ignored - refused


def test_commands_are_read_as_a_shell_reads_them() -> None:
    block = (
        "$ export A=1\n$ curl -i http://x/ \\\n  -H 'If-Match: \"3\"' -d '{\n  \"a\": 1\n}'\n"
        "HTTP/1.1 412 Precondition Failed\n$ curl -X DELETE http://y/$NAME\n"
    )
    first, second = curl_requests(block, {"NAME": "ann"})
    assert first == CurlRequest("http://x/", "POST", {"If-Match": '"3"'}, '{\n  "a": 1\n}', 412)
    assert second == CurlRequest("http://y/ann", "DELETE")
