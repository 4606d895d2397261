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
"""What `make demo` runs, by the names that the pages have for it."""
SHOWN_IN = {"cookbook/two_users.py": "README.md", "amulet compare": "docs/cli.md"}


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
def test_pages_show_what_the_demo_prints(name, tmp_path, monkeypatch):
    monkeypatch.setenv("AMULET_CONFIG_DIR", str(tmp_path))  # no preset that somebody saved here
    monkeypatch.setenv("COLUMNS", "80")
    assert shown_of(name).strip() in DEMO[name](), (
        f"{name} prints something else than {SHOWN_IN[name]} shows. If its answers are as good, "
        f"put what `make demo` prints into the page's block."
    )


def test_the_readme_shows_two_answers_to_one_question():
    ann, ben = re.findall(r"(?m)(?:^    .*\n)+", shown_of("cookbook/two_users.py"))
    assert ann != ben


def shown_of(name: str) -> str:
    """What a page shows of a program's print: all of it, or a part."""
    page = (COOKBOOK.parent / SHOWN_IN[name]).read_text(encoding="utf-8")
    (shown,) = re.findall(rf"^<!-- {name} prints .*\n```text\n((?:.*\n)*?)```$", page, re.MULTILINE)
    return shown
