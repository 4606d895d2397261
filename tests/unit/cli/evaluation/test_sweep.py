"""`amulet sweep`, plain and on a terminal, and what it writes."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from amulet_integrations.decoding import AmuletParams
from amulet_integrations.decoding.strength import PRESETS, Preset
from amulet_integrations.engine import LocalEngine
from amulet_integrations.evaluation import Sweep, TextScorer, sweep
from amulet_integrations.installation import install_command
from amulet_integrations.langchain import ChatAmulet
from amulet_integrations.profiles import PreferenceProfile, SqlProfileStore
from tests.unit.cli.conftest import Amulet
from tests.unit.cli.oracle import visible
from tests.unit.cli.terminal import Terminal
from tests.unit.cli.test_compare import sections
from tests.unit.evaluation import made

QUESTION = "How do I make tea?"
PREFERENCE = "Be brief."
QUICK = ("--max-tokens", "6", "--relevance", "none")
COMMAND = ("sweep", QUESTION, "--prefer", PREFERENCE, *QUICK)
HOSTILE = "<script>alert(1)</script> \x1b[31m**bold** [red]x[/red] \u202eevil"


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page is written there unless a test says otherwise."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def expected(tiny_engine: LocalEngine) -> Sweep:
    return sweep(tiny_engine, QUESTION, PREFERENCE, max_new_tokens=6, scorers=[TextScorer()])


def choosing(monkeypatch: pytest.MonkeyPatch, ratios: tuple[float, ...], nll: float = 0.8) -> None:
    """Lets sweeps come to these preference ratios at pref and the presets, all at one price."""
    names = ("pref", *(f"amulet@{name}" for name in PRESETS))
    answers = [
        made.measured(name, 0, ratio, 0.8 if name == "pref" else nll, preference=PREFERENCE)
        for name, ratio in zip(names, ratios, strict=True)
    ]
    preferences = (made.Preference(name=PREFERENCE, text=PREFERENCE),)
    found = Sweep(made.evaluation(answers, preferences=preferences))
    monkeypatch.setattr("amulet_integrations.evaluation.sweep", lambda *_, **__: found)


STRONG_IS_BEST = (0.1, 0.2, 0.3, 0.5, 0.1)


def test_each_section_has_an_answer_with_its_scores(amulet: Amulet, expected: Sweep) -> None:
    result = amulet(*COMMAND)

    assert result.exit_code == 0, result.stderr
    assert f"Question: {QUESTION}\nPreference: {PREFERENCE}\n" in result.stdout
    found = {head.partition(" (")[0]: text for head, text in sections(result.stdout).items()}
    answers = {answer.method: answer for answer in expected.evaluation.answers}
    assert [*found] == [point.label for point in expected.strengths]
    for point in expected.strengths:
        answer = answers[point.method]
        assert visible(answer.text.strip()) in found[point.label]
        assert f"Words {answer.scores['words']:.0f}]" in found[point.label]
        assert f"{point.scores['pref_nll'].mean:.3f}" in result.stdout
    assert expected.recommendation in result.stdout
    assert "It rests on 1 answer at each strength" in result.stdout


def test_json_is_the_sweep(amulet: Amulet, expected: Sweep, tmp_path: Path) -> None:
    result = amulet(*COMMAND, "--json", "--page", str(tmp_path / "a.html"))
    assert result.exit_code == 0, result.stderr
    content = json.loads(result.stdout)
    theirs = expected.to_dict()
    assert content["strengths"] != []
    for ours, there in zip(content["answers"], theirs["answers"], strict=True):
        assert ours["text"] == there["text"]
    assert content["recommended"] == theirs["recommended"]
    assert f"The page: {tmp_path / 'a.html'}" in result.stderr


@pytest.mark.parametrize("width", [60, 100, 140])
def test_columns_fit_the_terminal(
    terminal: Terminal, tiny_engine: LocalEngine, expected: Sweep, width: int
) -> None:
    with terminal(width) as screen:
        assert screen.run(tiny_engine, *COMMAND) == 0
    drawn = [line for line in screen.text.splitlines() if line[:1] in {"╭", "│", "├", "╰"}]
    assert max(map(len, drawn)) == width
    starred = expected.recommended
    for point in expected.strengths:
        star = "★ " if point is starred else ""
        assert re.search(rf"│ {star}{re.escape(point.label)} ", screen.text)
    assert f"words {' ' * 2}" in screen.text


def test_hostile_texts_show_as_text(
    amulet: Amulet, terminal: Terminal, tiny_engine: LocalEngine, tmp_path: Path
) -> None:
    command = ("sweep", HOSTILE, "--preference", HOSTILE, *QUICK, "--preset", "strong")
    page = tmp_path / "page.html"
    result = amulet(*command, "--page", str(page))
    assert result.exit_code == 0, result.stderr
    shown = visible(HOSTILE).replace("\u202e", "\ufffd")
    assert f"Question: {shown}\nPreference: {shown}\n" in result.stdout
    with terminal(200) as screen:
        assert screen.run(tiny_engine, *command) == 0
    assert f"Preference: {shown}" in screen.text
    for text in (result.stdout, screen.text, page.read_text()):
        assert "\u202e" not in text
    assert "\x1b" not in result.stdout + page.read_text()
    assert "\x1b[31m" not in screen.raw
    assert "<script" not in page.read_text()


def test_strengths_are_those_of_the_options(amulet: Amulet) -> None:
    options = ("--guidance-scale", "1.5,4", "--guidance-scale", "0.5", "--preset", "strong")
    result = amulet(*COMMAND, *options, "--iterations", "2", "--json")
    assert result.exit_code == 0, result.stderr
    found = {
        one["label"]: (one["guidance_scale"], one["max_kl"])
        for one in json.loads(result.stdout)["strengths"]
    }
    assert found == {
        "base": (0, None),
        "p = 0.5": (0.5, None),
        "pref": (1, None),
        "p = 1.5": (1.5, 0.1),
        "p = 2.463": (AmuletParams(iterations=2).guidance_scale, 0.1),
        "strong": (3, 0.3),
        "p = 4": (4, 0.1),
    }
    result = amulet(*COMMAND, "--preset", "strong", "--max-kl", "none", "--json")
    assert [one["max_kl"] for one in json.loads(result.stdout)["strengths"]] == [None] * 3


def test_questions_come_from_the_line_and_from_files(amulet: Amulet, tmp_path: Path) -> None:
    data = tmp_path / "questions.json"
    data.write_text(json.dumps([f"Why {number}?" for number in range(9)]))
    options = ("--data", str(data), "--sample", "2", "--preset", "strong", "--preset", "gentle")
    result = amulet("sweep", "Why?", "How?", "--preference", "concise", *QUICK, *options)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.count("Question: ") == 3
    assert "1 further case not shown" in result.stderr
    assert "Preference: Your answer should be concise as much as possible." in result.stdout
    assert "It rests on 4 answers at each strength, to 4 questions" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (("--preference", PREFERENCE), "give a question"),
        ((" ", "--preference", PREFERENCE), "blank"),
        (("Why?", "Why?", "--preference", PREFERENCE), "given twice"),
        (("Why?",), "--preference"),
        (("Why?", "--preference", " "), "preference"),
        (("Why?", "--preference", "creativ"), "creative"),
        (("Why?", "--preference", PREFERENCE, "--guidance-scale", "two"), "such as 1.5,2,4"),
        (("Why?", "--preference", PREFERENCE, "--guidance-scale", "1000"), "--guidance-scale"),
        (("Why?", "--preference", PREFERENCE, "--guidance-scale", "nan"), "finite"),
        (("Why?", "--preference", PREFERENCE, "--preset", "bold"), "gentle"),
        (("Why?", "--preference", PREFERENCE, "--max-kl", "-1"), "0 or more"),
        (("Why?", "--preference", PREFERENCE, "--sample", "3"), "--data"),
        (("Why?", "--preference", PREFERENCE, "--data", "missing.json"), "missing.json"),
        (("Why?", "--preference", PREFERENCE, "--page", "no/such/folder.html"), "no folder"),
        (("Why?", "--preference", PREFERENCE, "--page", "notes.txt"), "no HTML page"),
        (("Why?", "--preference", PREFERENCE, "--plot", "notes.txt"), "no PNG"),
        (("Why?", "--preference", PREFERENCE, "--plot", "pipe"), "no PNG"),
        (("Why?", "--preference", PREFERENCE, "--plot", "no/such/a.png"), "--plot"),
        (("Why?", "--preference", PREFERENCE, "--plot", "."), "--plot"),
        (("Why?", "--preference", PREFERENCE, "--page", "a", "--plot", "a"), "of its own"),
        (("Why?", "--preference", PREFERENCE, "--save", "a\nb"), "user_id"),
        (("Why?", "--preference", PREFERENCE, "--save", "ann", "--preset", "strong"), "two or mor"),
    ],
    ids=str,
)
def test_bad_input_is_refused_before_a_model_is_loaded(
    amulet: Amulet, db: str, arguments: tuple[str, ...], remedy: str, monkeypatch
) -> None:
    Path("notes.txt").write_text("Mine.")
    os.mkfifo("pipe")
    # Whoever calls it fails with another exit code.
    monkeypatch.setattr("amulet_integrations.cli.evaluation.sweep.open_engine", None)
    result = amulet("sweep", *arguments, "--profiles", db)
    assert result.exit_code == 2, result.stdout
    assert remedy in " ".join(result.stderr.split())
    assert not Path(db).exists()


def test_a_plot_without_matplotlib_is_refused_with_the_extra(
    amulet: Amulet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("amulet_integrations.evaluation.reporting.plots.find_spec", lambda _: None)
    result = amulet(*COMMAND, "--plot", str(tmp_path / "a.png"))
    assert result.exit_code == 2
    assert install_command("evaluation") in result.stderr
    assert amulet(*COMMAND, "--page", str(tmp_path / "a.html")).exit_code == 0


def test_files_are_written(amulet: Amulet, tmp_path: Path, own_folder: Path) -> None:
    page, plot = tmp_path / "a.html", tmp_path / "a.png"
    result = amulet(*COMMAND, "--page", str(page), "--plot", str(plot))
    assert result.exit_code == 0, result.stderr
    assert QUESTION in page.read_text()
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert f"The page: {page}\nThe plot: {plot}\n" in result.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "a.png", "here"]
    assert [*own_folder.iterdir()] == []
    assert amulet(*COMMAND, "--no-page").exit_code == 0
    assert [*own_folder.iterdir()] == []
    assert amulet(*COMMAND).exit_code == 0
    assert [path.name for path in own_folder.iterdir()] == ["sweep.html"]


def test_the_strength_goes_into_a_profile_on_request_only(
    amulet: Amulet, db: str, monkeypatch: pytest.MonkeyPatch, tiny_engine: LocalEngine
) -> None:
    choosing(monkeypatch, STRONG_IS_BEST)
    assert amulet(*COMMAND, "--profiles", db).exit_code == 0
    assert not Path(db).exists()

    result = amulet(*COMMAND, "--profiles", db, "--save", "ann")
    assert result.exit_code == 0, result.stderr
    assert "Saved ann: guidance scale 3, KL ≤ 0.3, version 1." in result.stdout
    with SqlProfileStore(db) as store:
        profile = store.get("ann")
        assert [it.text for it in profile.preferences] == [PREFERENCE]
        assert profile.strength.settled() == PRESETS["strong"]
        chat = ChatAmulet(engine=tiny_engine, profiles=store, user_id="ann", max_tokens=3)
        answer = chat.invoke(QUESTION)
        call = chat.validate(QUESTION)
        assert Preset(call.guidance_scale, call.max_kl) == PRESETS["strong"]
        assert answer.response_metadata["amulet"]["guidance_scale"] == 3.0
    shown = amulet("profile", "show", "ann", "--profiles", db).stdout
    assert "guidance scale 3, KL ≤ 0.3" in shown


@pytest.mark.parametrize("method", [None, "amulet", "pref"])
def test_a_profile_keeps_what_it_had(
    amulet: Amulet, db: str, monkeypatch: pytest.MonkeyPatch, method
) -> None:
    choosing(monkeypatch, STRONG_IS_BEST)
    before = PreferenceProfile(
        user_id="ann", preferences=("Use lists.",), preset="gentle", method=method
    )
    with SqlProfileStore(db) as store:
        store.save(before)
    result = amulet(*COMMAND, "--profiles", db, "--save", "ann", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["recommended"] == "amulet@strong"
    assert "Saved ann" in result.stderr
    assert "does not have the preference" in result.stderr
    with SqlProfileStore(db) as store:
        after = store.get("ann")
    assert after.preferences == before.preferences
    assert after.strength.settled() == PRESETS["strong"]
    assert after.method == (method and "amulet")


def test_a_preference_past_the_limits_is_refused_before_a_model_is_loaded(
    amulet: Amulet, db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amulet_integrations.cli.evaluation.sweep.open_engine", None)
    monkeypatch.setenv("AMULET_MAX_PREFERENCE_CHARS", "20")
    command = ("sweep", QUESTION, "--preference", "Be brief, " * 9, *QUICK, "--profiles", db)
    result = amulet(*command, "--save", "ann")
    assert result.exit_code == 2
    assert "20" in result.stderr


@pytest.mark.parametrize("why", ["none is recommended", "breaks more"])
def test_nothing_is_saved_where_nothing_is_recommended(
    amulet: Amulet, db: str, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    if why == "breaks more":
        choosing(monkeypatch, STRONG_IS_BEST, nll=3.0)
    else:
        choosing(monkeypatch, (0.5, 0.2, 0.2, 0.2, 0.2))
    result = amulet(*COMMAND, "--profiles", db, "--save", "ann")
    assert result.exit_code == 0, result.stderr
    assert "No strength is saved for ann" in result.stdout
    assert why in result.stdout
    assert amulet("profile", "show", "ann", "--profiles", db).exit_code == 2
