"""`amulet profile import --from`: files of LangMem, mem0 and plain text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from amulet_integrations import SqlProfileStore
from tests.unit.cli.conftest import Amulet

ITEM = {"namespace": ["memories", "ann"], "key": "k", "value": {"content": "Prefers lists."}}
MEMORY = {"id": "1", "memory": "Prefers lists.", "user_id": "ann"}
HINT = "--all imports those that do not say what the user wants, too."
FACT = {"id": "2", "memory": "Lives in Rome.", "user_id": "ann"}


def texts(db: str) -> dict[str, list[str]]:
    with SqlProfileStore(db) as store:
        found = [store.get(user_id) for user_id in store.user_ids()]
    return {one.user_id: [it.text for it in one.preferences] for one in found}


@pytest.mark.parametrize(
    ("origin", "text", "options"),
    [
        ("text", "ann: Prefers lists.", ()),
        ("text", "- Prefers lists.", ("--user", "ann")),
        ("mem0", json.dumps({"results": [MEMORY]}), ()),
        ("mem0", json.dumps([MEMORY, {**FACT, "user_id": "ben"}]), ("--all", "--user", "ann")),
        ("langmem", json.dumps(ITEM), ()),
        ("langmem", json.dumps({**ITEM, "namespace": ["ann", "m"]}), ("--namespace", "{u}/m")),
    ],
)
def test_a_file_is_imported_once(amulet: Amulet, db: str, origin, text, options):
    for done in ("1 added", "1 unchanged"):
        ran = amulet(
            "profile", "import", "--from", origin, "-", *options, "--profiles", db, stdin=text
        )
        assert ran.exit_code == 0, ran.output
        assert done in ran.stdout
    assert texts(db) == {"ann": ["Prefers lists."]}


def test_what_is_left_out_is_listed_with_the_reason_and_all_takes_it(amulet: Amulet, db: str):
    command = ["profile", "import", "--from", "mem0", "-", "--profiles", db]
    dry = amulet(*command, "--dry-run", stdin=json.dumps([MEMORY, FACT]))
    assert dry.stdout.splitlines() == [
        "+ ann: [0]: Prefers lists.",
        "- ann: [1]: Lives in Rome. (it does not say what the user wants)",
        f"1 profile would be changed: 1 added, 1 skipped. {HINT}",
    ]
    assert not Path(db).exists()
    amulet(*command, "--all", stdin=json.dumps([MEMORY, FACT]))
    assert texts(db) == {"ann": ["Prefers lists.", "Lives in Rome."]}
    gone = json.loads(amulet(*command, "--json", stdin=json.dumps([FACT])).stdout)
    assert gone["counts"] == {"skipped": 1, "missing": 1}
    assert gone["entries"][1]["name"] == "mem0#1"


def test_a_file_that_is_wrong_further_down_changes_nothing(amulet: Amulet, db: str):
    text = json.dumps(MEMORY) + "\n{oops"
    ran = amulet("profile", "import", "--from", "mem0", "-", "--profiles", db, stdin=text)
    assert ran.exit_code == 2
    assert "line 2 is no JSON" in ran.stderr
    assert not Path(db).exists()


def test_options_without_meaning_are_refused(amulet: Amulet, db: str):
    for options in (["--dry-run"], ["--all"], ["--user", "ann"], ["--json"]):
        assert (
            amulet("profile", "import", "-", *options, "--profiles", db, stdin="{}").exit_code == 2
        )
    wrong = ["--from", "text", "--namespace", "a/{b}"]
    assert amulet("profile", "import", "-", *wrong, "--profiles", db, stdin="Hi").exit_code == 2


def test_texts_steer_no_terminal(amulet: Amulet, db: str):
    hostile = json.dumps([{**MEMORY, "memory": "Likes \u202egnp.exe and \u009b31m red."}])
    ran = amulet("profile", "import", "--from", "mem0", "-", "--profiles", db, stdin=hostile)
    assert "\u202e" not in ran.stdout
    assert "\u009b" not in ran.stdout
