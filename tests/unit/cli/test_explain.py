"""`amulet explain`: what it prints and writes, and what it refuses."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from amulet_integrations.engine import LocalEngine
from amulet_integrations.langchain import ChatAmulet
from amulet_integrations.profiles import PreferenceProfile, SqlProfileStore
from tests.support.scripted import ScriptedEngine
from tests.unit.cli.conftest import Amulet

QUESTION = "How do I make tea?"
PREFERENCE = "Be brief."
COMMAND = ("explain", QUESTION, "--preference", PREFERENCE, "--max-tokens", "6")
HOSTILE = "<script>alert(1)</script> \x1b[31m**bold** [red]x[/red] \u202eevil"
WRITTEN = HOSTILE.replace("\x1b", "")  # preferences hold no control characters


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page is written there unless a test says otherwise."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("whose", ["a preference", "a user"])
def test_json_is_what_the_wrappers_explain(
    amulet: Amulet, tiny_engine: LocalEngine, db: str, whose: str, own_folder: Path
) -> None:
    with SqlProfileStore(db) as store:
        store.save(PreferenceProfile(user_id="ann", preferences=(PREFERENCE,)))
    chosen = COMMAND[2:4] if whose == "a preference" else ("--user", "ann", "--profiles", db)
    result = amulet("explain", QUESTION, *chosen, "--max-tokens", "6", "--json", "--no-page")
    assert result.exit_code == 0, result.stderr
    llm = ChatAmulet(engine=tiny_engine, profiles=None, max_tokens=6, preference=PREFERENCE)
    expected = llm.explanation_of(llm.invoke(QUESTION, explain=True)).to_dict()
    found = json.loads(result.stdout)
    # What is read of a prefix that is kept may differ in the last digits.
    for mine, other in zip(found.pop("tokens"), expected.pop("tokens"), strict=True):
        assert mine["token_id"] == other["token_id"]
        assert mine["shift"] == pytest.approx(other["shift"], abs=1e-4)
        assert mine["preference_shifts"] == pytest.approx(other["preference_shifts"], abs=1e-4)
    assert found == expected
    assert [*own_folder.iterdir()] == []


def test_the_page_is_written_unless_nobody_wants_it(amulet: Amulet, own_folder: Path) -> None:
    result = amulet(*COMMAND)
    assert result.exit_code == 0, result.stderr
    assert "The page: explanation.html" in result.stderr
    assert QUESTION in result.stdout
    page = own_folder / "explanation.html"
    assert QUESTION in page.read_text()
    page.rename(own_folder / "kept.html")
    (own_folder / "link.html").symlink_to("kept.html")
    assert amulet(*COMMAND[:1], "Why?", *COMMAND[2:], "--page", "link.html").exit_code == 0
    assert (own_folder / "link.html").is_symlink()
    assert "Why?" in (own_folder / "kept.html").read_text()
    assert sorted(it.name for it in own_folder.iterdir()) == ["kept.html", "link.html"]


def test_hostile_text_is_shown_as_text(amulet: Amulet) -> None:
    result = amulet("explain", HOSTILE, "--preference", WRITTEN, "--max-tokens", "4")
    assert result.exit_code == 0, result.stderr
    page = Path("explanation.html").read_text()
    for shown in (result.stdout, page):
        assert "\x1b" not in shown
        assert "\u202e" not in shown
    assert "<script>alert(1)</script>" in result.stdout
    assert "<script>alert" not in page


def test_a_user_without_preferences_gets_a_plain_answer_that_says_so(
    amulet: Amulet, db: str
) -> None:
    result = amulet("explain", QUESTION, "--user", "ann", "--profiles", db, "--max-tokens", "2")
    assert result.exit_code == 0, result.stderr
    assert "ann has no preference that acts here" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        ((QUESTION,), "--preference"),
        ((QUESTION, *COMMAND[2:4], "--user", "ann"), "one way"),
        ((QUESTION, "--preference", " "), "empty"),
        ((QUESTION, *COMMAND[2:4], "--guidance-scale", "1", "--preset", "strong"), "preset"),
        ((QUESTION, *COMMAND[2:4], "--page", "no/such/folder.html"), "no folder"),
        ((QUESTION, *COMMAND[2:4], "--page", "."), "is a folder"),
        ((QUESTION, *COMMAND[2:4], "--page", "notes.txt"), "no HTML page"),
        ((QUESTION, *COMMAND[2:4], "--page", "pipe"), "no HTML page"),
        ((QUESTION, *COMMAND[2:4], "--page", os.devnull), "no HTML page"),
    ],
    ids=str,
)
def test_bad_input_is_refused_before_a_model_is_loaded(
    amulet: Amulet, arguments: tuple[str, ...], remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("notes.txt").write_text("Mine.")
    os.mkfifo("pipe")
    # Whoever calls it fails with another exit code.
    monkeypatch.setattr("amulet_integrations.cli.explain.open_engine", None)
    result = amulet("explain", *arguments)
    assert result.exit_code == 2, result.stdout
    assert remedy in " ".join(result.stderr.split())
    assert Path("notes.txt").read_text() == "Mine."


def test_an_engine_that_cannot_explain_is_refused(amulet: Amulet) -> None:
    result = amulet(*COMMAND, engine=ScriptedEngine())
    assert result.exit_code != 0
    assert "ScriptedEngine cannot explain its answers" in " ".join(result.stderr.split())
