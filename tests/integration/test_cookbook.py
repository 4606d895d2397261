"""What `make demo` prints is what the README shows. `make cookbook` runs the notebooks."""

from __future__ import annotations

import io
import re
import runpy
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from transformers.utils import logging
from typer.testing import CliRunner

from amulet_integrations.cli.app import app

pytestmark = pytest.mark.model

COOKBOOK = Path(__file__).parents[2] / "cookbook"

COMPARE = (
    *("compare", "What is the capital of France?"),
    *("--preference", "Answer like a friendly pirate."),
)


def two_users() -> str:
    with redirect_stdout(io.StringIO()) as printed:
        runpy.run_path(str(COOKBOOK / "two_users.py"), run_name="__main__")
    return printed.getvalue()


DEMO = {
    "cookbook/two_users.py": two_users,
    "amulet compare": lambda: CliRunner().invoke(app, COMPARE, catch_exceptions=False).stdout,
}
"""What `make demo` runs, by the names that the README has for it."""


@pytest.fixture
def own_progress_bars() -> Iterator[None]:
    """Puts back what the demo switches off while it loads its model."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    yield
    logging.set_verbosity(verbosity)
    if bars:
        logging.enable_progress_bar()


@pytest.mark.usefixtures("embedded_engine", "own_progress_bars")
@pytest.mark.parametrize("name", DEMO)
def test_the_readme_shows_what_the_demo_prints(name, tmp_path, monkeypatch):
    monkeypatch.setenv("AMULET_CONFIG_DIR", str(tmp_path))  # no preset that somebody saved here
    monkeypatch.setenv("COLUMNS", "80")
    printed = DEMO[name]()
    readme = (COOKBOOK.parent / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(
        rf"^<!-- {name} prints .*\n```text\n((?:.*\n)*?)```$", readme, re.MULTILINE
    )
    assert printed.rstrip() == shown.rstrip(), (
        f"{name} prints something else than the README shows. If its answers are as good, put what "
        f"`make demo` prints into the README's block."
    )


def test_the_readme_shows_two_answers_to_three_questions():
    readme = (COOKBOOK.parent / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"cookbook/two_users\.py prints .*\n```text\n((?:.*\n)*?)```", readme)
    answers = re.findall(r"(?m)(?:^    .*\n)+", shown)
    assert len(answers) == 6
    assert all(ann != ben for ann, ben in zip(answers[::2], answers[1::2], strict=True))
