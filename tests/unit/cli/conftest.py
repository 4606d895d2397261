"""The command line on the tiny engine, away from the user's own settings and profiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from transformers.utils import logging
from typer.testing import CliRunner, Result

import amulet_integrations.engine
from amulet_integrations.cli.app import app
from amulet_integrations.engine import LocalEngine, ModelSource
from tests.unit.cli.terminal import Screen, Terminal

Amulet = Callable[..., Result]


@pytest.fixture(autouse=True)
def own_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    ours = ("AMULET_PROFILES", "AMULET_DB", "AMULET_MODEL", "AMULET_KEYS", "AMULET_DEBUG")
    for name in (*ours, "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    yield
    logging.set_verbosity(verbosity)
    if bars:
        logging.enable_progress_bar()


@pytest.fixture
def db(tmp_path: Path) -> str:
    return str(tmp_path / "profiles.db")


@pytest.fixture
def amulet(monkeypatch: pytest.MonkeyPatch, tiny_engine: LocalEngine) -> Amulet:
    """Runs a command line on the tiny engine, or on another one."""

    def run(*args: str, stdin: str | bytes = "", engine: object = tiny_engine) -> Result:
        def loaded(source: ModelSource) -> object:
            assert source.model == "embedded"
            return engine

        monkeypatch.setattr(amulet_integrations.engine, "shared_engine", loaded)
        return CliRunner().invoke(app, args, input=stdin, prog_name="amulet")

    return run


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Makes terminals of a given width."""
    return lambda width: Screen(monkeypatch, width)
