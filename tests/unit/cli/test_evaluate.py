"""`amulet evaluate`, plain and on a terminal."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from amulet_integrations.engine import LocalEngine
from amulet_integrations.evaluation import Evaluation
from tests.support.tiny import tiny_engine as make_tiny_engine
from tests.unit.cli.conftest import Amulet
from tests.unit.cli.terminal import Terminal

QUICK = ("--max-new-tokens", "3", "--method", "base", "--method", "pref", "--method", "amulet")


@pytest.fixture
def data(tmp_path: Path) -> str:
    path = tmp_path / "asked.json"
    rows = [{"index": index, "question": f"Why {index}?"} for index in range(6)]
    path.write_text(json.dumps(rows))
    return str(path)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_it_answers_measures_and_reports(amulet: Amulet, data: str, output: Path) -> None:
    result = amulet(
        "evaluate", "--data", data, "--sample", "2", "--preference", "creative",
        "--preference", "poet=Rhyme.", "--max-new-tokens", "3", "--output", str(output),
    )  # fmt: skip

    assert result.exit_code == 0, result.stderr
    found = Evaluation.read(output)
    assert [method.name for method in found.methods] == [
        "base", "pref", "beam_search", "linear_alignment", "amulet",
    ]  # fmt: skip
    assert [preference.name for preference in found.preferences] == ["creative", "poet"]
    assert len(found.answers) == 2 * 2 * 5
    assert {"preference_ratio", "fluency_nll", "words"} <= set(found.score_names)
    assert (output / "report.html").is_file()
    assert list(output.glob("*.png"))
    for method in found.methods:
        mean = found.mean("fluency_nll", method=method.name, preference="poet")
        assert f"{mean:.3f}" in result.stdout
    assert f"The report: {output / 'report.html'}" in result.stdout
    assert "answers: 20 …" in result.stderr


def test_the_same_command_goes_on(amulet: Amulet, data: str, output: Path) -> None:
    command = ("evaluate", "--data", data, "--preference", "creative", "--output", str(output))
    assert amulet(*command, *QUICK).exit_code == 0
    whole = (output / "answers.jsonl").read_bytes()
    (output / "answers.jsonl").write_bytes(whole[: len(whole) // 2])

    result = amulet(*command, *QUICK)
    assert result.exit_code == 0
    assert re.search(r"answers: 18, \d+ of them kept …", result.stderr)
    assert len((output / "answers.jsonl").read_bytes().splitlines()) == 18


def test_options_are_recorded(amulet: Amulet, data: str, output: Path) -> None:
    result = amulet(
        "evaluate", "--data", data, "--preference", "creative", "--set-up", "paper",
        "--seed", "7", "--temperature", "0.5", "--method", "pref", "--strength", "1",
        "--strength", "2", "--max-new-tokens", "2", "--output", str(output),
    )  # fmt: skip

    assert result.exit_code == 0, result.stderr
    settings = Evaluation.read(output).settings
    assert settings.set_up.name == "paper"
    assert (settings.seed, settings.temperature, settings.max_new_tokens) == (7, 0.5, 2)
    assert [method.name for method in settings.methods] == ["pref", "amulet@1", "amulet@2"]
    assert "amulet@2" in result.stdout
    assert "ecommended" in result.stdout


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--method", "amulett"), "Did you mean 'amulet'"),
        (("--preference", "creativ"), "Did you mean 'creative'"),
        (("--data-field", "ask"), "no field ask. It has: index, question"),
        (("--set-up", "papr"), "default, paper"),
        (("--data", "nothing.json"), "no file 'nothing.json'"),
    ],
)
def test_mistakes_are_told(
    amulet: Amulet, data: str, output: Path, options: tuple[str, ...], told: str
) -> None:
    result = amulet("evaluate", "--data", data, "--output", str(output), *QUICK, *options)

    assert result.exit_code == 2
    assert told in result.stderr
    assert not output.exists()


def test_another_runs_folder_is_left_alone(amulet: Amulet, data: str, output: Path) -> None:
    command = ("evaluate", "--data", data, "--preference", "creative", "--output", str(output))
    amulet(*command, *QUICK)
    before = {path.name: path.read_bytes() for path in output.iterdir()}

    result = amulet(*command, *QUICK, "--seed", "1")
    assert result.exit_code == 2
    assert "seed is 0 there and 1 here" in result.stderr
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before


def test_a_judge_that_answers_nonsense_is_told(amulet: Amulet, data: str, output: Path) -> None:
    """The model is its own judge here; what was answered stays."""
    with make_tiny_engine(max_position_embeddings=2048) as engine:
        result = amulet(
            "evaluate", "--data", data, "--preference", "creative", *QUICK,
            "--judge", "embedded", "--output", str(output), engine=engine,
        )  # fmt: skip

    assert result.exit_code == 2
    assert "none of them could be read" in result.stderr
    assert len(Evaluation.read(output).answers) == 18


def test_hostile_names_are_shown_and_not_obeyed(amulet: Amulet, data: str, output: Path) -> None:
    text = "Say \x1b[2J [red]x[/red]"
    result = amulet(
        "evaluate", "--data", data, "--sample", "1", "--preference", text, *QUICK,
        "--output", str(output),
    )  # fmt: skip

    assert result.exit_code == 0, result.stderr
    assert "\x1b" not in result.stdout
    assert "Say ␛[2J [red]x[/red]" in result.stdout


def test_on_a_terminal_there_are_bars(
    terminal: Terminal, tiny_engine: LocalEngine, data: str, output: Path
) -> None:
    with terminal(100) as screen:
        code = screen.run(
            tiny_engine, "evaluate", "--data", data, "--preference", "creative", *QUICK,
            "--output", str(output),
        )  # fmt: skip

    assert code == 0
    assert "18/18" in screen.text
    assert "likelihoods" in screen.text
    assert "┃" in screen.text
