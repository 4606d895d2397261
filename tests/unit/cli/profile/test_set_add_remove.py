"""`amulet profile` on a real SQLite file."""

from __future__ import annotations

import json
import shlex
import sqlite3
from pathlib import Path

import pytest

from amulet_integrations import AmuletParams, Preference, SqlProfileStore
from tests.unit.cli.conftest import Amulet


def stored(db: str, user: str = "ann") -> object:
    with SqlProfileStore(db) as store:
        return store.get(user)


def test_set_replaces(amulet: Amulet, db: str) -> None:
    first = ("--preference", "Old.", "--method", "pref")
    amulet("profile", "set", "ann", *first, "--profiles", db)
    both = ("--preference", "Be brief.", "--preference", "Use lists.")
    result = amulet("profile", "set", "ann", *both, "--iterations", "2", "--profiles", db)

    assert result.exit_code == 0, result.stderr
    assert result.stdout == "Saved ann: 2 preferences, version 2.\n"
    found = stored(db)
    assert found.preferences == (Preference(text="Be brief."), Preference(text="Use lists."))
    assert found.params == AmuletParams(iterations=2)
    assert found.method is None


def test_add_keeps_what_is_there(amulet: Amulet, db: str) -> None:
    amulet(
        "profile", "set", "ann", "--preference", "Be brief.", "--method", "pref", "--profiles", db
    )
    more = ("--preference", "Use lists.", "--weight", "-0.5", "--name", "layout")
    result = amulet("profile", "add", "ann", *more, "--profiles", db)

    assert result.exit_code == 0, result.stderr
    found = stored(db)
    assert found.preferences == (
        Preference(text="Be brief."),
        Preference(text="Use lists.", weight=-0.5, name="layout"),
    )
    assert found.method == "pref"
    assert found.version == 2


def test_add_makes_a_profile(amulet: Amulet, db: str) -> None:
    amulet("profile", "add", "ann", "--preference", "Be brief.", "--profiles", db)

    assert stored(db).preferences == (Preference(text="Be brief."),)


def test_show_contains_everything(amulet: Amulet, db: str) -> None:
    amulet(
        "profile", "set", "ann", "--preference", "Be brief.", "--iterations", "2", "--profiles", db
    )
    more = ("--preference", "[red]a[/red]\nb", "--weight", "0.5", "--name", "layout")
    amulet("profile", "add", "ann", *more, "--profiles", db)
    result = amulet("profile", "show", "ann", "--profiles", db)

    updated = f"{stored(db).updated_at:%Y-%m-%d %H:%M} UTC"
    assert result.stdout.splitlines() == [
        "ann",
        f"  version      2, {updated}",
        "  method       left to the caller",
        "  strength     guidance scale 2.46 (iterations 2, alpha 2, lambda 2, eta 10)",
        "  preferences",
        "    1. Be brief.",
        "    2. layout: [red]a[/red]",
        "       b",
        "       (weight 0.5)",
    ]


def test_show_as_json_is_the_whole_profile(amulet: Amulet, db: str) -> None:
    amulet("profile", "set", "ann", "--preference", "簡潔に", "--iterations", "2", "--profiles", db)
    result = amulet("profile", "show", "ann", "--json", "--profiles", db)

    assert "簡潔に" in result.stdout
    assert json.loads(result.stdout) == stored(db).model_dump(mode="json")


def test_list(amulet: Amulet, db: str) -> None:
    amulet("profile", "set", "bo", "--preference", "secret wish", "--profiles", db)
    amulet("profile", "set", "ann", "--preference", "a", "--preference", "b", "--profiles", db)

    lines = amulet("profile", "list", "--profiles", db).stdout.splitlines()
    assert lines[0].startswith("ann  2 preferences, version 1, 20")
    assert lines[1].startswith("bo   1 preference, version 1, 20")

    rows = json.loads(amulet("profile", "list", "--json", "--profiles", db).stdout)
    assert [(row["user_id"], row["preferences"], row["version"]) for row in rows] == [
        ("ann", 2, 1),
        ("bo", 1, 1),
    ]
    assert "secret wish" not in "".join(lines) + json.dumps(rows)


def test_list_of_nobody(amulet: Amulet, db: str) -> None:
    result = amulet("profile", "list", "--profiles", db)

    assert (result.exit_code, result.stdout) == (0, "")
    assert "amulet profile set" in result.stderr
    assert json.loads(amulet("profile", "list", "--json", "--profiles", db).stdout) == []


def test_a_damaged_profile_hides_nobody_elses(amulet: Amulet, db: str) -> None:
    for user in ("ann", "bo"):
        amulet("profile", "set", user, "--preference", "a", "--profiles", db)
    with sqlite3.connect(db) as connection:
        connection.execute("UPDATE amulet_profiles SET body = '[]' WHERE user_id = 'ann'")

    lines = amulet("profile", "list", "--profiles", db).stdout.splitlines()
    assert lines[0].startswith("ann  damaged: ")
    assert lines[1].startswith("bo   1 preference")
    first, second = json.loads(amulet("profile", "list", "--json", "--profiles", db).stdout)
    assert "not a profile" in first["error"]
    assert second["user_id"] == "bo"

    shown = amulet("profile", "show", "ann", "--profiles", db)
    assert shown.exit_code == 2
    assert "not a profile" in shown.stderr
    assert amulet("profile", "remove", "ann", "--profiles", db).exit_code == 0


@pytest.mark.parametrize(("by", "left"), [(("--name", "n"), "a"), (("--number", "1"), "b")])
def test_remove_one_preference(amulet: Amulet, db: str, by: tuple[str, str], left: str) -> None:
    amulet("profile", "set", "ann", "--preference", "a", "--profiles", db)
    amulet("profile", "add", "ann", "--preference", "b", "--name", "n", "--profiles", db)
    result = amulet("profile", "remove", "ann", *by, "--profiles", db)

    assert result.stdout == "Saved ann: 1 preference, version 3.\n"
    assert [preference.text for preference in stored(db).preferences] == [left]


def test_remove_the_profile(amulet: Amulet, db: str) -> None:
    amulet("profile", "set", "ann", "--preference", "a", "--profiles", db)
    result = amulet("profile", "remove", "ann", "--profiles", db)

    assert result.stdout == "Removed the profile of ann.\n"
    assert stored(db) is None


def test_the_database_may_come_from_the_environment(
    amulet: Amulet, db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMULET_PROFILES", f"sqlite:///{db}")
    amulet("profile", "set", "ann", "--preference", "a")

    assert stored(db) is not None


@pytest.mark.usefixtures("own_database")
def test_without_a_name_it_is_the_default_database(amulet: Amulet) -> None:
    amulet("profile", "set", "ann", "--preference", "a")

    with SqlProfileStore() as store:
        assert store.user_ids() == ["ann"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("add", "ann", "--preference", "a", "--weight", "3"), "--weight"),
        (("add", "ann", "--preference", "a", "--weight", "nan"), "--weight"),
        (("add", "ann", "--preference", "  "), "empty"),
        (("add", "ann", "--preference", "a\x1b[31mb"), "control character"),
        (("add", " ", "--preference", "a"), "user_id"),
        (("set", "ann"), "--preference"),
        (("set", "ann", "--preference", "a", "--method", "magic"), "magic"),
        (("set", "ann", "--preference", "a", "--iterations", "10001"), "iterations=10001"),
        (("show", "nobody"), "no profile of 'nobody'"),
        (("remove", "nobody"), "no profile of 'nobody'"),
        (("remove", "nobody", "--number", "1"), "no profile of 'nobody'"),
        (("remove", "known", "--number", "9"), "number 9"),
        (("remove", "known", "--name", "x"), "named 'x'"),
        (("remove", "known", "--name", "x", "--number", "1"), "give one of them"),
        (("sat", "ann"), "Did you mean 'set'?"),
    ],
)
def test_mistakes_are_reported_in_one_line(
    amulet: Amulet, monkeypatch: pytest.MonkeyPatch, db: str, args: tuple[str, ...], message: str
) -> None:
    monkeypatch.setenv("AMULET_PROFILES", db)
    amulet("profile", "set", "known", "--preference", "a")
    result = amulet("profile", *args)

    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "\x1b" not in result.stderr


def test_commands_in_messages_can_be_pasted(amulet: Amulet, db: str) -> None:
    user = "ann $(id); 'x'"
    amulet("profile", "set", user, "--preference", "Be brief.", "--profiles", db)
    for command, *options in (
        ("set",),
        ("add",),
        ("remove", "--number", "9"),
        ("show", "--version", "9"),
    ):
        message = amulet("profile", command, user, *options, "--profiles", db).stderr
        pasted = message[message.index("amulet profile") :]
        assert shlex.split(pasted)[3] == user, message


def test_a_database_that_cannot_be_written(amulet: Amulet, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = amulet("profile", "list", "--profiles", str(tmp_path / "file" / "profiles.db"))

    assert result.exit_code == 2
    assert "another database" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_contradictions_are_told_on_stderr_and_refused_nowhere(amulet: Amulet, db: str):
    first = amulet("profile", "set", "ann", "Answer briefly.", "--profiles", db)
    assert (first.exit_code, first.stderr) == (0, "")
    ran = amulet("profile", "add", "ann", "Write long, detailed answers.", "--profiles", db)
    assert ran.exit_code == 0
    told = "Of ann, preference 1 and preference 2 disagree on length: short and long."
    assert ran.stderr.splitlines() == [told]
    assert "Saved ann: 2 preferences" in ran.stdout
    other = amulet("profile", "set", "ben", "Be brief.", "Answer at length.", "--profiles", db)
    assert other.stderr.count("disagree on length") == 1
