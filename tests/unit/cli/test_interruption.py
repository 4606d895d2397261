"""Ctrl-C at every moment of every command: one line on stderr, and exit code 130."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Amulet

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")

# Presses Ctrl-C where a module is imported, and again while the first one is on its way.
PRESSED_AT = """
import atexit, os, signal, sys
module, times = sys.argv.pop(1), int(sys.argv.pop(1))

def press(left):
    try:
        os.kill(os.getpid(), signal.SIGINT)
    finally:
        if left > 1:
            press(left - 1)

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            sys.meta_path.remove(self)
            press(times)

sys.meta_path.insert(0, Finder())
if module == "exit":
    atexit.register(press, times)
if module == "stdin":
    class Input:
        def __getattr__(self, name):
            press(times)
    sys.stdin = Input()
from amulet_integrations.cli import main
main()
"""
# What a shell runs in the background ignores Ctrl-C; these commands do not.
LISTENS = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
BRIEF = ("--preference", "Be brief.")
MODEL_COMMANDS = [
    ("chat", *BRIEF),
    ("compare", "What is tea?", *BRIEF),
    ("evaluate", "--data", "questions.json", *BRIEF, "--relevance", "none", "--output", "out"),
    ("profile", "learn", "ann", "examples.jsonl"),
]


class Interrupted:
    """An engine; whoever uses it presses Ctrl-C."""

    def __getattr__(self, name: str) -> object:
        raise KeyboardInterrupt


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AMULET_PROFILES", str(tmp_path / "profiles.db"))
    (tmp_path / "questions.json").write_text('[{"index": 0, "question": "Why?"}]')
    examples = [f'{{"question": "Why {number}?", "accepted": "So."}}\n' for number in range(20)]
    (tmp_path / "examples.jsonl").write_text("".join(examples))
    return tmp_path


def run(
    folder: Path, *args: str, code: str = LISTENS + PRESSED_AT
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *args],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        stdin=subprocess.DEVNULL,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("moment", "times"),
    [("typer", "1"), ("amulet_integrations.cli.profile", "2"), ("sqlalchemy", "2")],
)
def test_it_ends_a_command_that_starts(folder: Path, moment: str, times: str) -> None:
    ran = run(folder, moment, times, "profile", "list")

    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "Interrupted.\n")


@pytest.mark.parametrize(
    ("moment", "args"), [("torch", ("chat", *BRIEF)), ("stdin", ("profile", "import", "-"))]
)
def test_it_ends_a_command_that_runs(folder: Path, moment: str, args: tuple[str, ...]) -> None:
    ran = run(folder, moment, "2", *args)

    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "Interrupted.\n")


@pytest.mark.parametrize("args", MODEL_COMMANDS, ids=lambda args: args[0])
def test_it_ends_a_command_whose_model_answers(
    amulet: Amulet, folder: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...]
) -> None:
    monkeypatch.chdir(folder)
    amulet("profile", "add", "ann", *BRIEF)
    result = amulet(*args, stdin="What is tea?\n", engine=Interrupted())

    assert result.exit_code == 130
    assert result.stderr.endswith("Interrupted.\n")
    assert "Error" not in result.stderr


def test_it_changes_nothing_of_a_process_that_exits(folder: Path) -> None:
    ran = run(folder, "exit", "2", "--version")

    assert (ran.returncode, ran.stderr) == (0, "")


def test_where_it_is_ignored_it_stays_ignored(folder: Path) -> None:
    ignored = f"import signal; signal.signal({int(signal.SIGINT)}, signal.SIG_IGN)\n{PRESSED_AT}"
    ran = run(folder, "typer", "2", "--version", code=ignored)

    assert (ran.returncode, ran.stderr) == (0, "")
