"""A server over an SQLite file, and a store of its own on the same file to compare with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from amulet_integrations.engine import LocalEngine
from amulet_integrations.profiles import SqlProfileStore
from amulet_integrations.serving import ServerSettings, create_app
from amulet_integrations.serving.access.authentication import authenticate
from amulet_integrations.serving.access.caller import Caller

MakeApp = Callable[..., FastAPI]

_numbers = count()


@pytest.fixture(scope="package")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served") / "profiles.db"


@pytest.fixture(scope="package")
def make_app(tiny_engine: LocalEngine, database: Path) -> MakeApp:
    """Makes an application; `caller` is whom its requests come from."""

    def make(*, caller: Caller | None = None, **settings: Any) -> FastAPI:
        app = create_app(ServerSettings(**{"profiles": database} | settings), engine=tiny_engine)
        if caller is not None:
            app.dependency_overrides[authenticate] = lambda: caller
        return app

    return make


@pytest.fixture(scope="package")
def client(make_app: MakeApp) -> TestClient:
    """A client of a server without keys. Its model is not warmed up: profiles need none."""
    return TestClient(make_app())


@pytest.fixture(scope="package")
def store(database: Path) -> Iterator[SqlProfileStore]:
    with SqlProfileStore(database) as store:
        yield store


@dataclass(frozen=True)
class Served:
    """A user of one test alone, on a server of all tests.

    Attributes:
        user: The user's id.
        client: A client of the server, which has no keys.
        store: A store of its own on the same database.
    """

    user: str
    client: TestClient
    store: SqlProfileStore

    @property
    def path(self) -> str:
        """The path of the user's profile."""
        return f"/v1/profiles/{self.user}"


@pytest.fixture
def ann(client: TestClient, store: SqlProfileStore) -> Served:
    return Served(f"ann-{next(_numbers)}", client, store)
