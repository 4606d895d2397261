"""Fixtures of all tests. Nothing here or in the tests asks a network."""

from __future__ import annotations

import gc
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    # Workers share the cores. Threads of both on every core cost a third of the time.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.postgres import (  # noqa: F401 - fixtures
    durable_postgres_server,
    durable_postgres_url,
    postgres_server,
    postgres_url,
)

if TYPE_CHECKING:  # fixtures import torch: the process that hands out the tests does not need it
    from amulet_integrations.engine import LocalEngine

STANDARD_SUITES = (
    "tests/unit/langchain/test_standard.py::TestStandard::",
    "tests/integration/test_langchain_standard.py::TestStandard::",
)


def pytest_collection_finish() -> None:
    """Lets garbage collections pass over all that was imported and collected.

    An engine that closes starts a whole collection. Over ten thousand tests and the modules that
    they import, each would take half a second.
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Counts the tests of LangChain's own standard suites, which are easily lost among ours."""
    outcomes = ("failed", "error", "passed", "xfailed", "xpassed", "skipped")
    ran = {
        outcome: {
            report.nodeid
            for report in terminalreporter.stats.get(outcome, ())
            if getattr(report, "nodeid", "").startswith(STANDARD_SUITES)
        }
        for outcome in outcomes
    }
    if tests := set().union(*ran.values()):
        counts = ", ".join(f"{len(ids)} {outcome}" for outcome, ids in ran.items() if ids)
        terminalreporter.write_line(f"LangChain standard suites: {counts} of {len(tests)}")


@pytest.fixture(scope="session", autouse=True)
def own_config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps the user's presets and profiles away from the tests, and from their processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AMULET_CONFIG_DIR", str(tmp_path_factory.mktemp("config")))
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        patch.delenv("AMULET_PROFILES", raising=False)
        patch.delenv("AMULET_DB", raising=False)
        patch.delenv("AMULET_PROFILE_PARENTS", raising=False)
        yield


@pytest.fixture(scope="session")
def tiny_engine() -> Iterator[LocalEngine]:
    """An engine of a tiny random Llama: real decoding in milliseconds."""
    from tests.support import tiny

    with tiny.tiny_engine() as engine:
        yield engine


@pytest.fixture(scope="session")
def embedded_engine() -> LocalEngine:
    """The engine of the embedded model in float32, the one that wrappers share."""
    from amulet_integrations.engine import ModelSource, shared_engine

    return shared_engine(ModelSource())


@pytest.fixture
def all_cores() -> Iterator[None]:
    """Gives torch several threads here and on the engines' worker: what users have."""
    import torch

    from amulet_integrations.engine import run_on_worker

    before = torch.get_num_threads()

    def use(threads: int) -> None:
        torch.set_num_threads(threads)
        run_on_worker(lambda: torch.set_num_threads(threads))

    use(max(2, os.cpu_count() or 1))
    yield
    use(before)


@pytest.fixture
def own_database(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keeps the default profile database away from the user's own."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))


@pytest.fixture
def shared_parents(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator allows the parents that tests name; by default nobody may be one."""
    names = ["all", "ann", "bob", "everyone", "ghost", "org", "team", "work", "x", "a", "b", "c"]
    numbers = [f"{prefix}{number}" for prefix in ("", "p") for number in range(20)]
    monkeypatch.setenv("AMULET_PROFILE_PARENTS", ",".join([*names, *numbers]))
