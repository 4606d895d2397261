"""`amulet profile history`, `restore`, `erase`, `export` and `import` on a real SQLite file."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import unicodedata
from contextlib import closing
from pathlib import Path

import pytest

from amulet_integrations import InMemoryProfileStore, PreferenceProfile, SqlProfileStore
from amulet_integrations.errors import InvalidProfileError
from amulet_integrations.profiles import Preference
from amulet_integrations.profiles.stores.transfer import export_profiles
from tests.support.hostile import HOSTILE
from tests.unit.cli.conftest import Amulet

FAMILIES = ("right to left", "zero width", "spaces", "sql", "combining", "emoji", "null bytes")
HOSTILE_IDS = [text for family in FAMILIES for text in HOSTILE[family]]
HIDDEN = "ann\u202e.exe"
BIDI_MARKS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}

pytestmark = pytest.mark.usefixtures("shared_parents")


@pytest.fixture(autouse=True)
def operator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "zoe")


@pytest.fixture
def filled(amulet: Amulet, db: str) -> str:
    """Ann's three changes: set, added to, removed."""
    amulet("profile", "set", "ann", "--preference", "Be brief.", "--profiles", db)
    amulet("profile", "add", "ann", "--preference", "Use lists.", "--profiles", db)
    amulet("profile", "remove", "ann", "--profiles", db)
    return db


def hostile_profile(text: str) -> PreferenceProfile | None:
    """Of this user, preference, name and condition; None where that is refused."""
    try:
        preference = Preference(text=text, name=text, when={text: text})
        return PreferenceProfile(user_id=text, preferences=[preference])
    except InvalidProfileError:
        return None


def contents(profile: PreferenceProfile) -> dict:
    return profile.model_dump(exclude={"version", "updated_at"})


def steers(character: str) -> bool:
    """Whether a terminal may obey it."""
    is_control = unicodedata.category(character) in {"Cc", "Cs"} and character not in "\n\t"
    return is_control or unicodedata.bidirectional(character) in BIDI_MARKS


def texts(db: str, user: str = "ann") -> list[str] | None:
    with SqlProfileStore(db) as store:
        found = store.get(user)
    return found and [preference.text for preference in found.preferences]


def test_history_shows_when_what_and_by_whom(amulet: Amulet, filled: str) -> None:
    result = amulet("profile", "history", "ann", "--profiles", filled)
    with SqlProfileStore(filled) as store:
        times = [f"{change.at:%Y-%m-%d %H:%M} UTC" for change in store.history("ann")]
    assert result.stdout.splitlines() == [
        f"1  {times[0]}  saved by zoe: 1 preference",
        f"2  {times[1]}  saved by zoe: 2 preferences",
        f"3  {times[2]}  removed by zoe",
    ]
    assert "brief" not in result.stdout


def test_history_as_json_is_every_change(amulet: Amulet, filled: str) -> None:
    changes = json.loads(amulet("profile", "history", "ann", "--json", "--profiles", filled).stdout)
    assert [(it["version"], it["action"], it["by"]) for it in changes] == [
        (1, "save", "zoe"),
        (2, "save", "zoe"),
        (3, "delete", "zoe"),
    ]
    assert changes[1]["profile"]["preferences"][1]["text"] == "Use lists."
    newest = amulet("profile", "history", "ann", "--limit", "1", "--json", "--profiles", filled)
    assert json.loads(newest.stdout) == changes[2:]


def test_a_version_is_shown_and_restored(amulet: Amulet, filled: str) -> None:
    shown = amulet("profile", "show", "ann", "--version", "1", "--profiles", filled)
    assert "1. Be brief." in shown.stdout
    assert "Use lists." not in shown.stdout
    result = amulet("profile", "restore", "ann", "2", "--profiles", filled)
    assert result.stdout == "Saved ann: 2 preferences, version 4.\n"
    assert texts(filled) == ["Be brief.", "Use lists."]
    history = amulet("profile", "history", "ann", "--profiles", filled)
    assert history.stdout.splitlines()[-1].endswith("restored by zoe: 2 preferences")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("restore", "ann", "9"), "9"),
        (("restore", "ann", "3"), "3"),
        (("restore", "bob", "1"), "'bob'"),
        (("show", "ann", "--version", "9"), "Version 9 of the profile of 'ann' does not exist"),
        (("show", "ann", "--version", "3"), "Version 3 of the profile of 'ann' is a removal"),
        (("history", "bob"), "There is no profile of 'bob'"),
        (("erase", "bob", "--yes"), "There is no profile of 'bob'"),
        (("export", "bob"), "'bob'"),
    ],
)
def test_what_is_not_there_is_reported(
    amulet: Amulet, filled: str, arguments: tuple[str, ...], message: str
) -> None:
    result = amulet("profile", *arguments, "--profiles", filled)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_a_damaged_version_is_reported(amulet: Amulet, filled: str) -> None:
    with closing(sqlite3.connect(filled)) as connection:
        damage = "update amulet_profile_changes set body='{', changed_at='x' where version = 1"
        connection.execute(damage)
        connection.commit()
    shown = amulet("profile", "show", "ann", "--version", "1", "--profiles", filled)
    assert (shown.exit_code, "is damaged" in shown.stderr) == (2, True)
    lines = amulet("profile", "history", "ann", "--profiles", filled).stdout.splitlines()
    assert lines[0].startswith("1  at an unknown time  damaged: ")
    assert lines[1].endswith("saved by zoe: 2 preferences")


def test_erase_asks_first_and_leaves_nothing(amulet: Amulet, filled: str) -> None:
    refused = amulet("profile", "erase", "ann", "--profiles", filled, stdin="n\n")
    assert refused.exit_code == 1
    assert "Erase the profile of ann and its history for good?" in refused.stderr
    done = amulet("profile", "erase", "ann", "--profiles", filled, stdin="y\n")
    assert done.stdout.endswith("Erased the profile of ann and its history.\n")
    assert b"Be brief." not in Path(filled).read_bytes()
    assert amulet("profile", "history", "ann", "--profiles", filled).exit_code == 2


def test_export_and_import_carry_profiles_over(amulet: Amulet, db: str, tmp_path: Path) -> None:
    amulet("profile", "set", "everyone", "--preference", "Be kind.", "--profiles", db)
    first = ("--preference", "簡潔に", "--iterations", "2", "--parent", "everyone")
    amulet("profile", "set", "ann", *first, "--profiles", db)
    file, other = str(tmp_path / "all.json"), str(tmp_path / "other.db")
    written = amulet("profile", "export", "--output", file, "--profiles", db)
    assert written.stdout == f"Exported to {file}.\n"
    assert amulet("profile", "export", "--profiles", db).stdout.count("簡潔に") == 1

    result = amulet("profile", "import", file, "--profiles", other)
    assert result.stdout == "Imported 2 profiles.\n"
    after = amulet("profile", "show", "ann", "--json", "--profiles", other)
    before = amulet("profile", "show", "ann", "--json", "--profiles", db)
    same = {"updated_at": None}
    assert {**json.loads(after.stdout), **same} == {**json.loads(before.stdout), **same}

    ann = amulet("profile", "export", "ann", "--history", "--profiles", db).stdout
    assert [it["version"] for it in json.loads(ann)["history"]] == [1]
    again = amulet("profile", "import", "-", "--profiles", other, stdin=ann)
    assert again.stdout == "Imported 1 profile.\n"
    with SqlProfileStore(other) as store:
        assert store.get("ann").version == 2
        assert store.history("ann")[-1].by == "zoe"


def test_what_a_gate_takes_a_preference_for_is_carried_over(amulet: Amulet, db: str) -> None:
    added = amulet("profile", "add", "ann", "I sail.", "--kind", "topic", "--profiles", db)
    assert added.exit_code == 0, added.stderr
    assert "topic" in amulet("profile", "show", "ann", "--profiles", db).stdout
    exported = amulet("profile", "export", "--profiles", db).stdout
    assert amulet("profile", "import", "-", "--profiles", f"{db}2", stdin=exported).exit_code == 0
    with SqlProfileStore(f"{db}2") as store:
        assert store.get("ann").preferences == (Preference(text="I sail.", kind="topic"),)
    refused = amulet("profile", "add", "ann", "I ski.", "--kind", "habit", "--profiles", db)
    assert (refused.exit_code, "'style', 'topic'" in refused.stderr) == (2, True)


def test_hostile_ids_and_texts_are_shown_safely_and_carried_over_exactly(
    amulet: Amulet, db: str, tmp_path: Path
) -> None:
    profiles = [sound for user_id in HOSTILE_IDS if (sound := hostile_profile(user_id))]
    other = str(tmp_path / "other.db")
    with SqlProfileStore(db) as store:
        store.import_json(export_profiles(InMemoryProfileStore(profiles)))
    outputs = {}
    for command in (("export",), ("list",), ("list", "--json")):
        outputs[command] = amulet("profile", *command, "--profiles", db).stdout
    for command in ("show", "history", "explain"):
        for form in ((), ("--json",)):
            shown = amulet("profile", command, *form, "--profiles", db, "--", HIDDEN)
            assert shown.exit_code == 0
            outputs[(command, *form)] = shown.stdout
    for command, output in outputs.items():
        assert not {it for it in output if steers(it)}, command
    assert len(set(outputs[("list",)].splitlines())) == len(profiles)
    users = {it["user_id"] for it in json.loads(outputs[("list", "--json")])}
    assert users == {it.user_id for it in profiles}

    amulet("profile", "import", "-", "--profiles", other, stdin=outputs[("export",)])
    with SqlProfileStore(db) as before, SqlProfileStore(other) as after:
        for user_id in users:
            assert contents(after.get(user_id)) == contents(before.get(user_id)), ascii(user_id)
        assert after.user_ids() == before.user_ids()


def test_an_export_to_a_terminal_of_another_encoding_is_exact(db: str, tmp_path: Path) -> None:
    preferences = ["簡潔に, é, 👨\u200d👩", HIDDEN]
    with SqlProfileStore(db) as store:
        stored = store.save(PreferenceProfile(user_id="zoé", preferences=preferences))
    command = [sys.executable, "-m", "amulet_integrations", "profile", "export", "--profiles", db]
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    with SqlProfileStore(tmp_path / "other.db") as other:
        (imported,) = other.import_json(done.stdout.decode("latin-1"))
    assert contents(imported) == contents(stored)
    assert done.stdout.isascii()


def test_a_bad_file_is_reported_and_nothing_is_stored(
    amulet: Amulet, db: str, tmp_path: Path
) -> None:
    file = tmp_path / "bad.json"
    exported = {
        "format": "amulet-profiles",
        "format_version": 1,
        "profiles": [
            {"user_id": "ann", "preferences": [{"text": "Be brief."}]},
            {"user_id": "bob", "preferences": [{"text": "Shhh.", "weight": 3}]},
        ],
    }
    for content, message in [
        (json.dumps(exported), "profiles[1].preferences[0].weight"),
        (json.dumps({**exported, "format_version": 7}), "format_version"),
        ("not JSON", "JSON"),
    ]:
        file.write_text(content)
        result = amulet("profile", "import", str(file), "--profiles", db)
        assert result.exit_code == 2
        assert message in result.stderr
        assert "Shhh" not in result.stderr
    assert amulet("profile", "import", str(tmp_path / "none"), "--profiles", db).exit_code == 2
    file.write_bytes(b"\xff\xfe")
    assert "is not UTF-8" in amulet("profile", "import", str(file), "--profiles", db).stderr
    piped = amulet("profile", "import", "-", "--profiles", db, stdin=b"\xff")
    assert (piped.exit_code, "is not UTF-8" in piped.stderr) == (2, True)
    assert texts(db) is None


def test_the_output_that_cannot_be_written_is_reported(amulet: Amulet, db: str) -> None:
    amulet("profile", "set", "ann", "--preference", "Be brief.", "--profiles", db)
    result = amulet("profile", "export", "--output", "/nowhere/at/all.json", "--profiles", db)
    assert result.exit_code == 2
    assert "'/nowhere/at/all.json' cannot be written" in result.stderr


def test_whoever_has_no_name_changes_profiles_too(
    amulet: Amulet, db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: (_ for _ in ()).throw(KeyError("uid")))
    amulet("profile", "set", "ann", "--preference", "Be brief.", "--profiles", db)
    with SqlProfileStore(db) as store:
        assert [change.by for change in store.history("ann")] == [None]
        assert store.get("ann") is not None
        assert isinstance(store.get("ann"), PreferenceProfile)
