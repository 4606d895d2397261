"""The entry point: help, version, errors, and what it does not import."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from amulet_integrations import __version__
from amulet_integrations.cli.app import app
from amulet_integrations.installation import install_command
from tests.unit.cli.conftest import Amulet

MODULE = [sys.executable, "-m", "amulet_integrations"]


def python(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "compare"),
        (("chat",), "--user"),
        (("compare",), "--preference"),
        (("serve",), "AMULET_KEYS"),
        (("profile",), "remove"),
        (("profile", "set"), "--iterations"),
        (("profile", "add"), "--weight"),
        (("profile", "show"), "--json"),
        (("profile", "list"), "AMULET_PROFILES"),
        (("profile", "remove"), "--number"),
        (("keys",), "revoke"),
        (("keys", "create"), "AMULET_KEYS"),
        (("keys", "list"), "--json"),
        (("keys", "revoke"), "--user"),
    ],
)
def test_every_command_has_help(amulet: Amulet, args: tuple[str, ...], message: str) -> None:
    result = amulet(*args, "--help")

    assert result.exit_code == 0
    assert message in result.stdout
    assert "Usage: amulet" in result.stdout


@pytest.mark.parametrize("args", [(), ("profile",), ("keys",)])
def test_a_group_alone_shows_its_help(amulet: Amulet, args: tuple[str, ...]) -> None:
    alone = amulet(*args)

    assert alone.exit_code == 0
    assert alone.stdout.rstrip() == amulet(*args, "--help").stdout.rstrip()


def test_help_shows_examples_one_a_line(amulet: Amulet) -> None:
    lines = [line.strip() for line in amulet("chat", "--help").stdout.splitlines()]

    assert "amulet chat --user ann" in lines


def test_version(amulet: Amulet) -> None:
    result = amulet("--version")

    assert (result.exit_code, result.stdout) == (0, f"amulet-integrations {__version__}\n")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--nope",), "--nope"),
        (("chat", "--nope"), "See: amulet chat --help"),
        (("chat", "--method", "magic"), "'magic'"),
        (("chat", "--max-tokens", "0"), "--max-tokens"),
        (("chat", "--temperature", "-1"), "--temperature"),
        (("chat", "--iterations", "10001"), "iterations=10001"),
        (("chat", "--user", "ann", "--preference", "a"), "--user and --preference"),
        (("chat", "--preference", " "), "empty"),
        (("compare",), "QUESTION"),
        (("compare", "?"), "--preference"),
        (("compare", " ", "--preference", "a"), "blank"),
    ],
)
def test_mistakes_are_reported_in_one_line(
    amulet: Amulet, args: tuple[str, ...], message: str
) -> None:
    result = amulet(*args)

    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_failure_of_ours_shows_where_only_when_asked(amulet: Amulet) -> None:
    plain = amulet("chat", stdin="?", engine=object())
    assert plain.exit_code == 1
    assert len(plain.stderr.splitlines()) == 1
    assert "TypeError" in plain.stderr

    traced = amulet("--debug", "chat", stdin="?", engine=object())
    assert traced.exit_code == 1
    assert "Traceback" in traced.stderr


def test_debug_may_come_from_the_environment(
    amulet: Amulet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMULET_DEBUG", "1")
    assert "Traceback" in amulet("chat", stdin="?", engine=object()).stderr


def test_the_module_is_the_command() -> None:
    result = subprocess.run(
        [*MODULE, "profile", "--nope"], check=False, capture_output=True, text=True
    )

    assert result.returncode == 2
    assert result.stderr == "Error: No such option: --nope. See: amulet profile --help\n"


def test_an_unknown_model_is_reported_in_one_line(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "no-such-model")
    result = CliRunner().invoke(app, ["compare", "?", "--preference", "a", "--model", nowhere])

    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Error: model=")
    assert len(result.stderr.splitlines()) == 1


def test_help_needs_neither_torch_nor_a_database_nor_a_server() -> None:
    result = python(
        "import sys; from amulet_integrations.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'sqlalchemy', 'fastapi'} & sys.modules.keys()\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)",
        "compare",
        "--help",
    )

    assert result.returncode == 0, result.stderr
    assert "--preference" in result.stdout


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_it_shows_how_to_get_it(missing: str) -> None:
    result = python(
        "import sys; sys.modules[sys.argv.pop(1)] = None\n"
        "from amulet_integrations.cli import main; main()",
        missing,
        "--help",
    )

    assert result.returncode == 2
    assert "is not installed" in result.stderr
    assert install_command("cli") in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_reader_that_goes_away_is_no_error() -> None:
    with subprocess.Popen(
        [*MODULE, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == ""


def test_output_that_cannot_be_encoded_is_no_error(tmp_path: Path) -> None:
    db = str(tmp_path / "profiles.db")
    command = [*MODULE, "profile", "add", "ann", "--preference", "簡潔に", "--profiles", db]
    subprocess.run(command, check=True, capture_output=True)
    result = subprocess.run(
        [*MODULE, "profile", "show", "ann", "--profiles", db],
        check=False,
        capture_output=True,
        text=True,
        env={"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"},
    )

    assert result.returncode == 0, result.stderr
    assert "1. \\u7c21\\u6f54\\u306b" in result.stdout


@pytest.mark.parametrize("option", ["--strength", "--alpha", "--cfg-scale"])
@pytest.mark.parametrize("command", [("chat",), ("compare", "q"), ("profile", "set", "ann", "a")])
def test_a_strength_by_another_name_leads_to_the_options(
    amulet: Amulet, command: tuple[str, ...], option: str
) -> None:
    result = amulet(*command, option, "3")

    assert result.exit_code == 2
    found = (
        "--guidance-scale 2, --preset strong, --iterations 2",
        "(Possible options: --guidance-scale)",
    )
    assert any(options in result.stderr for options in found)


HELPED = (("chat",), ("compare",), ("profile", "set"), ("profile", "add"), ("evaluate",))


@pytest.mark.parametrize("command", HELPED)
def test_the_help_lists_one_set_of_names(amulet: Amulet, command: tuple[str, ...]) -> None:
    listed = set(re.findall(r"--[a-z-]+", amulet(*command, "--help").stdout))

    assert "--preference" in listed
    assert not listed & {"--db", "--prefer", "--max-new-tokens", "--strength"}


STORING = (
    ("chat",),
    ("explain",),
    ("sweep",),
    ("serve",),
    ("profile", "show"),
    ("profile", "learn"),
)


@pytest.mark.parametrize("command", STORING)
def test_the_place_of_profiles_has_one_name(amulet: Amulet, command: tuple[str, ...]) -> None:
    shown = amulet(*command, "--help").stdout
    assert re.search(r"--profiles +PATH_OR_URL", shown)
    assert "--db" not in shown


def test_the_place_of_profiles_is_found_by_its_earlier_name(amulet: Amulet, db: str) -> None:
    stored = amulet("profile", "set", "ann", "--preference", "a", "--db", db)
    assert (stored.exit_code, stored.stderr) == (0, "")
    assert "a" in amulet("profile", "show", "ann", "--profiles", db).stdout


def test_earlier_names_are_found_too(amulet: Amulet, db: str) -> None:
    amulet("profile", "set", "ann", "--prefer", "a", "--profiles", db)
    amulet("profile", "add", "ann", "b", "--db", db)
    now = amulet("chat", "--user", "ann", "--max-tokens", "4", "--profiles", db, stdin="Hi")
    then = amulet("chat", "--user", "ann", "--max-new-tokens", "4", "--profiles", db, stdin="Hi")

    assert "a" in amulet("profile", "show", "ann", "--profiles", db).stdout
    assert now.stdout == then.stdout != ""


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, "10000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "passive"}, "None"),
    ],
)
def test_the_threads_of_the_command_do_not_spin_for_long(given: dict[str, str], found: str) -> None:
    program = (
        "import atexit, os, sys; sys.argv[1:] = ['--version']\n"
        "from amulet_integrations.cli import main\n"
        "atexit.register(lambda: print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules))\n"
        "main()"
    )
    ours = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    shown = subprocess.check_output(
        [sys.executable, "-c", program], env=environment | given, text=True
    )
    assert shown.splitlines()[-1] == f"{found} False"  # torch reads it when it is imported
