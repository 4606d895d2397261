"""`amulet profile suggest`: each suggestion is asked about, and what is confirmed is stored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from amulet_integrations import SqlProfileStore
from tests.support.scripted import ScriptedEngine
from tests.unit.cli.conftest import Amulet

SAID = "Which wine goes with fish? Please keep it short. And I hate emojis!"
ITEMS = [
    {"quote": "Please keep it short", "preference": "Answer briefly.", "kind": "length"},
    {"quote": "I hate emojis", "preference": "Use no emojis.", "kind": "format"},
    {"quote": "forget me not", "preference": "Be rude.", "kind": "tone"},
]


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine([json.dumps({"preferences": ITEMS})], context_window=4096)


@pytest.fixture
def chat(tmp_path: Path) -> str:
    file = tmp_path / "chat.json"
    file.write_text(json.dumps([{"role": "user", "content": SAID}]))
    return str(file)


def texts(db: str) -> list[str] | None:
    with SqlProfileStore(db) as store:
        profile = store.get("ann")
    return None if profile is None else [it.text for it in profile.preferences]


def test_each_one_is_asked_about_and_the_confirmed_one_is_stored(amulet: Amulet, db, chat, engine):
    ran = amulet("profile", "suggest", "ann", chat, "--profiles", db, stdin="n\ny\n", engine=engine)
    assert ran.exit_code == 0, ran.output
    assert texts(db) == ["Use no emojis."]
    assert 'from the words "Please keep it short"' in ran.stdout
    assert "1 suggestion of the model left out: its quote is nothing that the user" in ran.stderr
    assert "rude" not in ran.output


def test_a_reason_is_told_once(amulet: Amulet, db, chat):
    items = [{**ITEMS[2], "preference": f"Be rude {number}."} for number in range(5)]
    engine = ScriptedEngine([json.dumps({"preferences": items})], context_window=4096)
    ran = amulet("profile", "suggest", "ann", chat, "--profiles", db, engine=engine)
    assert "5 suggestions of the model left out" in ran.stderr
    assert ran.stderr.count("its quote is nothing") == 1


@pytest.mark.parametrize("answers", ["n\nn\n", "\n\n", "y\n", ""])
def test_without_a_yes_to_all_that_is_asked_nothing_is_stored(amulet, db, chat, engine, answers):
    ran = amulet("profile", "suggest", "ann", chat, "--profiles", db, stdin=answers, engine=engine)
    assert ran.exit_code == (0 if answers.count("\n") == 2 else 1)
    assert not Path(db).exists()


def test_json_asks_nobody_and_its_ids_can_be_accepted(amulet: Amulet, db, chat, engine):
    command = ("profile", "suggest", "ann", chat, "--profiles", db)
    shown = json.loads(amulet(*command, "--json", engine=engine).stdout)
    assert not Path(db).exists()
    assert [it["text"] for it in shown["suggestions"]] == ["Answer briefly.", "Use no emojis."]
    assert len(shown["rejected"]) == 1
    wrong = amulet(*command, "--accept", "12345678", engine=engine)
    assert (wrong.exit_code, Path(db).exists()) == (2, False)
    first = shown["suggestions"][0]["id"]
    assert amulet(*command, "--accept", first, engine=engine).exit_code == 0
    assert texts(db) == ["Answer briefly."]
    assert "--yes" not in amulet("profile", "suggest", "--help").stdout


@pytest.mark.parametrize(
    "content",
    [
        json.dumps({"messages": [{"role": "user", "content": SAID}]}),
        json.dumps({"role": "user", "content": SAID}),
        '\ufeff{"role": "user", "content": "Hi"}\n' + json.dumps({"role": "user", "content": SAID}),
    ],
)
def test_files_of_several_forms_and_standard_input(amulet: Amulet, db, engine, content):
    command = ("profile", "suggest", "ann", "-", "--profiles", db)
    ran = amulet(*command, "--json", stdin=content, engine=engine)
    assert ran.exit_code == 0, ran.output
    assert len(json.loads(ran.stdout)["suggestions"]) == 2
    refused = amulet(*command, stdin=content, engine=engine)
    assert refused.exit_code == 2
    assert "standard input" in refused.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no json", "line 1 of the conversation is no JSON"),
        (b'{"role": "user"}\n{oops', "line 2 of the conversation is no JSON"),
        (b"7", "is a int"),
        (b"\xff\xfe", "not UTF-8"),
        (b'[{"role": "boss", "content": "Hi"}]', "has the role 'boss'"),
        (b"[]", "wrote nothing"),
    ],
)
def test_what_is_no_conversation_is_refused(amulet, chat, engine, content, message):
    Path(chat).write_bytes(content)
    ran = amulet("profile", "suggest", "ann", chat, engine=engine)
    assert ran.exit_code == 2
    assert message in ran.stderr
    assert engine.requests == []
