"""A server on the tiny engine, with the keys of two users and of an application."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, NamedTuple

import pytest
from fastapi import Query, Request
from fastapi.testclient import TestClient
from httpx import Response

from amulet_integrations.engine import LocalEngine
from amulet_integrations.serving import ServerSettings, create_app
from amulet_integrations.serving.access.authentication import CallerOf
from amulet_integrations.serving.access.key_file import KeyFile
from amulet_integrations.serving.server_state import State

USER_HEADER = "X-OpenWebUI-User-Id"
Serve = Callable[..., TestClient]


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys.json")


@pytest.fixture
def ann(file: KeyFile) -> str:
    return file.create(user_id="ann").text


@pytest.fixture
def bob(file: KeyFile) -> str:
    return file.create(user_id="bob").text


@pytest.fixture
def web(file: KeyFile) -> str:
    return file.create(application="web").text


def make_client(
    engine: LocalEngine, base_url: str = "http://127.0.0.1:8000", **settings: object
) -> TestClient:
    """A client of a server; GET /v1/named?user= has the user whom a request is about."""
    app = create_app(ServerSettings(profiles=None, **settings), engine=engine)

    @app.get("/v1/named", include_in_schema=False)
    async def named(
        request: Request,
        state: State,
        _caller: CallerOf,
        user: Annotated[str | None, Query()] = None,
    ) -> dict[str, str | None]:
        return {"user": (await state.access.asker_of(request, user)).user_id}

    return TestClient(app, base_url=base_url, raise_server_exceptions=False)


@pytest.fixture
def serve(tiny_engine: LocalEngine) -> Iterator[Serve]:
    """Makes servers."""
    with ExitStack() as clients:
        # Entered, a client has one event loop for all its requests.
        yield lambda **settings: clients.enter_context(make_client(tiny_engine, **settings))


class Named(NamedTuple):
    """A server with user headers, and the keys of a user and of an application."""

    client: TestClient
    ann: str
    web: str

    def ask(self, key: str, user: str | None = None, **headers: str) -> Response:
        """Asks whom a request is about that names users in these places."""
        named = {name.replace("_", "-"): value.encode() for name, value in headers.items()}
        params = {} if user is None else {"user": user}
        return self.client.get("/v1/named", params=params, headers={**bearer(key), **named})


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory, tiny_engine: LocalEngine) -> Iterator[Named]:
    file = KeyFile(tmp_path_factory.mktemp("keys") / "keys.json")
    ann, web = file.create(user_id="ann").text, file.create(application="web").text
    headers = ("X-User", USER_HEADER)
    with make_client(tiny_engine, keys=file.path, user_headers=headers) as client:
        yield Named(client, ann, web)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}
