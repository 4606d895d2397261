"""Tests that run Ray Serve, in the environment of `make test-ray`; they are skipped elsewhere."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if find_spec("ray") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    # Before Ray is imported; nothing of it is sent, and its token is the tests' own.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_AUTH_MODE"] = "disabled"
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"

if TYPE_CHECKING:
    from tests.ray.served_cluster import Cluster


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a tiny model."""
    from tests.support.tiny import tiny_model, tiny_tokenizer

    folder = tmp_path_factory.mktemp("tiny")
    tiny_model(max_position_embeddings=4096).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def profiles_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """PostgreSQL where its server is installed; otherwise a file, which one machine may share."""
    from tests.support.postgres import programs

    if programs() is None:
        return f"sqlite:///{tmp_path_factory.mktemp('profiles')}/profiles.db"
    server = request.getfixturevalue("postgres_server")
    return server.url(server.new_database())


@pytest.fixture(scope="session")
def cluster(tiny_folder: Path, profiles_url: str) -> Iterator[Cluster]:
    """Two replicas of the tiny model behind one port, with keys, in a cluster of one machine."""
    from tests.ray.served_cluster import Cluster

    folder = Path(tempfile.mkdtemp(prefix="amulet-ray-"))  # Ray's sockets need a short path
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AMULET_PROFILES", profiles_url)
        try:
            with Cluster.started(folder, tiny_folder) as started:
                yield started
        finally:
            shutil.rmtree(folder, ignore_errors=True)
