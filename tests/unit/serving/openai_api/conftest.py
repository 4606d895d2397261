"""One server for the tests of a file, and what is asked of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from amulet_integrations import InMemoryProfileStore, Preference, PreferenceProfile
from amulet_integrations.engine import LocalEngine
from amulet_integrations.serving import ServerSettings, create_app
from tests.support.serving import serve_app

ANN = PreferenceProfile(
    user_id="ann", preferences=[Preference(text="Speak of the sea.", name="sea")], preset="strong"
)
SETTINGS = ServerSettings(
    model="tiny",
    profiles=None,
    max_tokens=128,
    default_max_tokens=8,
    max_choices=4,
    user_headers=("X-User",),
)


def make_app(engine: Any, **changes: Any) -> FastAPI:
    """An application with a store in which one user is known."""
    app = create_app(SETTINGS.model_copy(update=changes), engine=engine)
    store = InMemoryProfileStore()
    store.save(ANN)
    app.state.amulet.client.profiles = store
    return app


@pytest.fixture(scope="session")
def served_app(tiny_engine: LocalEngine) -> FastAPI:
    return make_app(tiny_engine)


@pytest.fixture(scope="session")
def http(served_app: FastAPI) -> Iterator[TestClient]:
    with TestClient(served_app, base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture(scope="session")
def chat(http: TestClient) -> Callable[..., Any]:
    """Asks, and returns the response."""

    def ask(text: str = "What is the sea?", **body: Any) -> Any:
        messages = [{"role": "user", "content": text}]
        return http.post(
            "/v1/chat/completions", json={"model": "tiny", "messages": messages, **body}
        )

    return ask


@pytest.fixture(scope="session")
def base_url(tiny_engine: LocalEngine) -> Iterator[str]:
    """The URL of a real server on the loopback address."""
    with serve_app(make_app(tiny_engine)) as url:
        yield url
