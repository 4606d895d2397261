"""What takes time is told of on stderr where that is a terminal, wherever the output goes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from amulet_integrations.cli.terminal import status
from amulet_integrations.engine import LocalEngine
from amulet_integrations.profiles import PreferenceProfile, SqlProfileStore
from tests.support.scripted import ScriptedEngine
from tests.support.tiny import tiny_model, tiny_tokenizer
from tests.unit.cli.conftest import Amulet
from tests.unit.cli.terminal import Terminal

LOADING = "Loading embedded …"
SHORT = ("--preference", "Be brief.", "--max-tokens", "4")
COMMANDS = {
    "explain": (("explain", "Why?", *SHORT, "--no-page"), (LOADING, "Answering … 4 tokens")),
    "compare": (("compare", "Why?", *SHORT), (LOADING, "Answering …")),
    "learn": (("profile", "learn", "ann", "{here}/liked.jsonl"), (LOADING, "Reading 5 answers …")),
    "suggest": (
        ("profile", "suggest", "ann", "{here}/chat.json", "--json"),
        (LOADING, "Reading the conversation …"),
    ),
    "memory": (("memory", "{here}/model", "--tokens", "64"), ("Reading the config of {here}/mod",)),
    "sweep": (
        ("sweep", "Why?", *SHORT, "--preset", "default", "--no-page"),
        (LOADING, "Loading what measures the answers …"),
    ),
}


@pytest.fixture
def here(tmp_path: Path, db: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the commands read; a profile is stored."""
    example = {"accepted": "So it is. " * 20, "rejected": "No."}
    lines = [json.dumps({"question": f"Why {number}?", **example}) for number in range(5)]
    (tmp_path / "liked.jsonl").write_text("\n".join(lines))
    (tmp_path / "chat.json").write_text('[{"role": "user", "content": "I like it brief."}]')
    tiny_model().save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    monkeypatch.setenv("AMULET_PROFILES", db)
    with SqlProfileStore(db) as store:
        store.save(PreferenceProfile(user_id="ann", preferences=("Be brief.",)))
    return tmp_path


@pytest.mark.parametrize("name", COMMANDS)
def test_what_takes_time_is_told_of_on_a_terminal_and_not_in_logs(
    amulet: Amulet, terminal: Terminal, tiny_engine: LocalEngine, here: Path, name: str
) -> None:
    command, expected = COMMANDS[name]
    engine: object = tiny_engine
    if name == "suggest":
        engine = ScriptedEngine(['{"preferences": []}'], context_window=4096)
    arguments = [part.format(here=here) for part in command]
    with terminal(200) as screen, (here / "output").open("w") as output:
        code = screen.run(engine, *arguments, output=output)
    assert code == 0, screen.text
    for message in expected:
        assert message.format(here=here) in screen.text
    assert screen.raw.endswith("\x1b[2K") or "\n" in screen.raw  # nothing of it stays
    logged = amulet(*arguments, engine=engine)
    assert logged.exit_code == 0, logged.stderr
    for message in expected:
        for shown in ((here / "output").read_text(), logged.stdout, logged.stderr):
            assert message.format(here=here) not in shown


def test_nothing_is_told_where_the_shell_has_closed_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", None)  # as Python has it for 2>&-
    with status("Loading …") as show:
        show("Still loading …")
    assert capsys.readouterr().out == ""


def test_a_message_is_no_longer_than_its_line(terminal: Terminal, here: Path) -> None:
    with terminal(30) as screen:
        assert screen.run(None, "memory", str(here / "model"), "--tokens", "64") == 0
    assert "Reading the config of /" in screen.text
    told = screen.text[: screen.text.index("…") + 1]
    assert len(told) == 30
