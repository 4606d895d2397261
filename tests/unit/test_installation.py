"""The commands in messages and documents install what they name, from where there is something."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import amulet_integrations

ROOT = Path(__file__).parents[2]
PACKAGE = Path(amulet_integrations.__file__).parent
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
WRITTEN = [
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / "cookbook").glob("*.[ip]*"),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "Makefile", "pyproject.toml")),
]
FORGOTTEN = """
from amulet_integrations.errors import MissingDependencyError
print(MissingDependencyError.for_extra("x", "cli"))
"""


def command_of(site: Path, direct_url: dict | None) -> list[str]:
    """What a message says, as words, where the package was installed into a folder of its own."""
    (site / "amulet_integrations").symlink_to(PACKAGE)
    about = site / "amulet_integrations-0.1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Name: amulet-integrations\nVersion: 0.1.0\n")
    if direct_url is not None:
        (about / "direct_url.json").write_text(json.dumps(direct_url))
    ran = subprocess.run(
        [sys.executable, "-c", FORGOTTEN],
        capture_output=True,
        text=True,
        check=True,
        cwd=site,
        env={"PYTHONPATH": str(site)},
    )
    prefix, command = ran.stdout.strip().split("Install it with: ")
    assert prefix == "x is not installed. "
    return shlex.split(command)


def checkout(folder: Path, *, constraints: bool = True) -> Path:
    folder.mkdir()
    (folder / "pyproject.toml").write_text('[project]\nname = "amulet-integrations"\n')
    if constraints:
        (folder / "constraints.txt").touch()
    return folder


GIT = {"vcs": "git", "commit_id": "0123abc"}


@pytest.mark.parametrize(
    ("direct_url", "requirement"),
    [
        (None, "amulet-integrations[cli]"),
        ({"url": "file:///nowhere", "dir_info": {}}, "amulet-integrations[cli]"),
        (
            {"url": "https://host/a.git", "vcs_info": GIT},
            "amulet-integrations[cli] @ git+https://host/a.git@0123abc",
        ),
        (
            {"url": "https://host/a.whl", "archive_info": {}},
            "amulet-integrations[cli] @ https://host/a.whl",
        ),
    ],
)
def test_what_came_from_a_url_or_an_index_comes_from_there(tmp_path, direct_url, requirement):
    assert command_of(tmp_path, direct_url) == ["pip", "install", requirement]


def test_a_checkout_is_installed_from_its_folder_with_its_constraints(tmp_path):
    for name, pinned in (("with", True), ("without one", False)):
        (site := tmp_path / f"site {name}").mkdir()
        sources = checkout(tmp_path / name, constraints=pinned)
        told = command_of(site, {"url": sources.as_uri(), "dir_info": {}})
        constraints = ["-c", str(sources / "constraints.txt")] if pinned else []
        assert told == ["pip", "install", *constraints, f"{sources}[cli]"]


def test_an_editable_checkout_stays_editable(tmp_path):
    # The folder that is imported is the checkout: pip's own note may name another one.
    sources = checkout(tmp_path / "my sources")
    told = command_of(sources, {"url": "file:///other", "dir_info": {"editable": True}})
    constraints = str(sources / "constraints.txt")
    assert told == ["pip", "install", "-c", constraints, "-e", f"{sources}[cli]"]


def test_every_extra_that_is_named_exists():
    named: dict[str, set[str]] = {}
    for file in WRITTEN:
        text = file.read_text(encoding="utf-8")
        for extras in re.findall(r'(?:amulet-integrations|-e \\?"\.)\[([^\]]+)\]', text):
            named.setdefault(file.name, set()).update(re.split(r"\s*,\s*", extras))
        for table in re.findall(r"(?m)^\| extra \|.*\n\|[-|]+\n((?:\|.*\n)+)", text):
            named[file.name] |= set(re.findall(r"(?m)^\| `([\w-]+)` \|", table))
    for file in PACKAGE.rglob("*.py"):
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call):
                named.setdefault(file.name, set()).update(_extras_of(call))
    assert all(named[file] for file in ("README.md", "embedded.py", "1_langchain_two_users.ipynb"))
    assert not {file: gone for file, used in named.items() if (gone := used - EXTRAS.keys())}


def _extras_of(call: ast.Call) -> set[str]:
    """The names of extras among the constants of a call that makes a hint."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    values: list[ast.expr] = []
    if name == "install_command":
        values = call.args
    elif name == "for_extra":
        values = call.args[1:]
    elif name == "attach_exports":
        tables = [word.value for word in call.keywords if word.arg == "extras"]
        values = [extra for table in tables for extra in getattr(table, "values", ())]
    return {value.value for value in values if isinstance(value, ast.Constant)}


def test_no_command_asks_an_index_for_this_package():
    """It is on none, so `pip install amulet-integrations` finds nothing."""
    command = re.compile(r"pip install[^\n`]*\bamulet-integrations\b[^\n`]*")
    asking = {file.name: command.findall(file.read_text(encoding="utf-8")) for file in WRITTEN}
    assert not {file: lines for file, lines in asking.items() if lines}


def test_commands_in_documents_pin_versions():
    """An open range lets pip choose a torch with gigabytes of CUDA packages."""
    for file in WRITTEN:
        for line in re.findall(r'pip install[^\n]*-e \\?"\.[^\n]*', file.read_text("utf-8")):
            assert re.search(r"-c \S*constraints\.txt", line), f"{file.name}: {line}"
