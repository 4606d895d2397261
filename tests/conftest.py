"""Fixtures of all tests. Nothing here or in the tests asks a network."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from collections.abc import Iterator

import pytest

from amulet_integrations.engine import LocalEngine, ModelSource, shared_engine
from tests.support.tiny import tiny_engine as make_tiny_engine


@pytest.fixture(scope="session")
def tiny_engine() -> Iterator[LocalEngine]:
    """An engine of a tiny random Llama: real decoding in milliseconds."""
    with make_tiny_engine() as engine:
        yield engine


@pytest.fixture(scope="session")
def embedded_engine() -> LocalEngine:
    """The engine of the embedded model in float32, the one that wrappers share."""
    return shared_engine(ModelSource())


@pytest.fixture
def own_database(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keeps the default profile database away from the user's own."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
