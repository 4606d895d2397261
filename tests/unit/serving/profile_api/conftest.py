"""A server over an SQLite file, and a store of its own on the same file to compare with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from amulet_integrations.engine import LocalEngine
from amulet_integrations.profiles import SqlProfileStore
from amulet_integrations.serving import ServerSettings, create_app
from amulet_integrations.serving.access.authentication import authenticate
from amulet_integrations.serving.access.caller import Caller

MakeClient = Callable[..., TestClient]

_numbers = count()


@pytest.fixture(scope="package")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served") / "profiles.db"


@pytest.fixture(scope="package")
def make_client(tiny_engine: LocalEngine, database: Path) -> MakeClient:
    """Makes a client of a new server; `caller` is whom its requests come from.

    The model is not warmed up: profiles need none.
    """

    def make(*, caller: Caller | None = None, **settings: Any) -> TestClient:
        app = create_app(ServerSettings(**{"profiles": database} | settings), engine=tiny_engine)
        if caller is not None:
            app.dependency_overrides[authenticate] = lambda: caller
        return TestClient(app, base_url="http://127.0.0.1")

    return make


@pytest.fixture(scope="package")
def client(make_client: MakeClient) -> TestClient:
    """A client of a server without keys."""
    return make_client()


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
