"""A server on the tiny engine, with the keys of two users and of an application."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pytest
from fastapi import Query, Request
from fastapi.testclient import TestClient

from amulet_integrations.engine import LocalEngine
from amulet_integrations.serving import ServerSettings, create_app
from amulet_integrations.serving.access.authentication import CallerOf, named_user
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


@pytest.fixture
def serve(tiny_engine: LocalEngine) -> Serve:
    """Makes a server; GET /v1/named?user= has the user whom a request is about."""

    def make(base_url: str = "http://127.0.0.1:8000", **settings: object) -> TestClient:
        app = create_app(ServerSettings(profiles=None, **settings), engine=tiny_engine)

        @app.get("/v1/named", include_in_schema=False)
        async def named(
            request: Request,
            state: State,
            caller: CallerOf,
            user: Annotated[str | None, Query()] = None,
        ) -> dict[str, str | None]:
            return {"user": named_user(request, user, state)}

        return TestClient(app, base_url=base_url, raise_server_exceptions=False)

    return make


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}
