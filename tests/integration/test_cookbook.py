"""The cookbook runs top to bottom, on the embedded model, as its reader would run it."""

from __future__ import annotations

import io
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from transformers.utils import logging
from typer.testing import CliRunner

from amulet_integrations.cli.app import app

pytestmark = pytest.mark.model

COOKBOOK = Path(__file__).parents[2] / "cookbook"
NOTEBOOKS = ("langchain.ipynb", "llama_index.ipynb")
# A minute of model time each: one of them is run by `make test`, the other by `make acceptance`.
LONG = {"langchain.ipynb": pytest.mark.acceptance}

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


class ThisInterpreter(KernelSpecManager):
    """Knows one kernel, which is the interpreter that runs the tests, wherever it is."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        # A reader opens notebooks in their folder, beside the modules that they import. The package
        # is that of these tests, whichever is installed.
        env = {"PYTHONPATH": f"{COOKBOOK}{os.pathsep}{COOKBOOK.parent}"}
        return KernelSpec(argv=argv, display_name=kernel_name, language="python", env=env)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=LONG.get(name, ())) for name in NOTEBOOKS]
)
def test_a_notebook_runs_and_prints_what_it_shows(name, tmp_path):
    stored = nbformat.read(COOKBOOK / name, as_version=4)
    nbformat.validate(stored)
    run = nbformat.from_dict(stored)
    kernels = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=ThisInterpreter())
    NotebookClient(
        run,
        km=kernels,
        timeout=300,
        coalesce_streams=True,
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute(cleanup_kc=True)  # the kernel ends here, and not with the tests
    # Other processors round otherwise, and a greedy answer may part there: so what an answer
    # says is not compared, only that every cell which shows something still does.
    assert [kinds(cell) for cell in code_cells(run)] == [kinds(cell) for cell in code_cells(stored)]
    assert all("".join(shown(cell)).strip() for cell in code_cells(run) if cell.outputs)


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


@pytest.mark.acceptance  # a minute of model time; the page on agents shows the same
def test_an_agent_remembers_what_each_user_told_it():
    script = COOKBOOK / "agents.py"
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    told, *answers = re.split(r"\n\n(?:ann|ben): Why .*\n", ran.stdout)
    for user_id, wish in (("ann", "bullet points"), ("ben", "pirate")):
        (kept,) = re.findall(rf"kept for {user_id}: \['(.*)'\]", told)
        assert wish in kept
    ann, ben = (answer.strip() for answer in answers)
    assert len(ann) > 20
    assert len(ben) > 20
    assert ann != ben


def test_everything_in_the_cookbook_is_tested():
    assert {file.name for file in COOKBOOK.glob("*.ipynb")} == set(NOTEBOOKS)
    assert {file.name for file in COOKBOOK.glob("*.py")} == {
        "agents.py",
        "minilm.py",  # by the notebook that imports it
        "two_users.py",
    }


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell):
    """The kinds of a cell's outputs, without the progress bars and warnings on stderr."""
    return {output.output_type for output in cell.outputs if output.get("name") != "stderr"}


def shown(cell):
    for output in cell.outputs:
        yield output.get("text") or output.get("data", {}).get("text/plain", "")
