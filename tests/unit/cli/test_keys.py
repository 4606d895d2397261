"""`amulet keys` on a real file, read back by a server's own eyes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from amulet_integrations.serving.access.caller import Caller
from amulet_integrations.serving.access.key_file import KeyFile
from amulet_integrations.serving.access.known_keys import KnownKeys
from tests.unit.cli.conftest import Amulet

KEY = r"amulet-([0-9a-f]{12})-[\w-]{43}"


@pytest.fixture
def file(tmp_path: Path) -> str:
    return str(tmp_path / "keys.json")


def caller(file: str, key: str) -> Caller | None:
    return KnownKeys(KeyFile(Path(file))).find(key)


@pytest.mark.parametrize(("option", "user"), [("--user", "ann"), ("--application", None)])
def test_create_prints_the_key_alone(
    amulet: Amulet, file: str, option: str, user: str | None
) -> None:
    result = amulet("keys", "create", option, "ann", "--keys", file)

    assert result.exit_code == 0, result.stderr
    found = re.fullmatch(KEY, result.stdout.removesuffix("\n"))
    assert found
    what = option.removeprefix("--")
    assert result.stderr == f"Key {found[1]} of {what} ann, in {file}. It is shown this once:\n"
    assert caller(file, found[0]) == Caller(key_id=found[1], user_id=user)


def test_the_file_may_come_from_the_environment(
    amulet: Amulet, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMULET_KEYS", file)
    key = amulet("keys", "create", "--user", "ann").stdout.strip()

    assert caller(file, key).user_id == "ann"
    assert "ann" in amulet("keys", "list").stdout


def test_the_file_may_be_in_the_home_folder(
    amulet: Amulet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    amulet("keys", "create", "--user", "ann", "--keys", "~/deep/keys.json")

    assert (tmp_path / "deep" / "keys.json").is_file()


def test_list_shows_whose_keys_there_are_and_no_hashes(amulet: Amulet, file: str) -> None:
    names = {"--user": "ann", "--application": "web app  x"}
    keys = [
        amulet("keys", "create", option, name, "--keys", file).stdout.strip()
        for option, name in names.items()
    ]
    ids = [key.split("-")[1] for key in keys]
    result = amulet("keys", "list", "--keys", file)
    as_json = json.loads(amulet("keys", "list", "--json", "--keys", file).stdout)

    stored = json.loads(Path(file).read_text())["keys"]
    shown = [re.split(r"  +(?=user|application|\d{4}-)", it) for it in result.stdout.splitlines()]
    assert shown == [
        [ids[0], "user ann", stored[0]["created_at"][:10]],
        [ids[1], "application 'web app  x'", stored[1]["created_at"][:10]],
    ]
    common = {"created_at": stored[0]["created_at"]}
    assert as_json == [
        {"id": ids[0], "user_id": "ann", "application": None, **common},
        {"id": ids[1], "user_id": None, "application": "web app  x"}
        | {"created_at": stored[1]["created_at"]},
    ]
    for text in (result.output, json.dumps(as_json)):
        assert not any(it["sha256"][:16] in text for it in stored)
        assert not any(key[20:] in text for key in keys)


def test_list_steers_no_terminal(amulet: Amulet, file: str) -> None:
    name = "a\N{RIGHT-TO-LEFT OVERRIDE}b"
    amulet("keys", "create", "--user", name, "--keys", file)

    for args in ((), ("--json",)):
        assert (
            "\N{RIGHT-TO-LEFT OVERRIDE}" not in amulet("keys", "list", *args, "--keys", file).output
        )


def test_list_of_no_keys(amulet: Amulet, file: str) -> None:
    Path(file).touch(0o600)
    result = amulet("keys", "list", "--keys", file)

    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"There are no keys in {file}.\n"
    assert json.loads(amulet("keys", "list", "--json", "--keys", file).stdout) == []


@pytest.mark.parametrize("how", ["id", "ID", "key"])
def test_revoke_one_key(amulet: Amulet, file: str, how: str) -> None:
    key, other = (
        amulet("keys", "create", "--user", "ann", "--keys", file).stdout.strip() for _ in "ab"
    )
    key_id = key.split("-")[1]
    given = {"id": key_id, "ID": f" {key_id.upper()}", "key": key}[how]
    result = amulet("keys", "revoke", given, "--keys", file)

    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"Revoked key {key_id} of user ann.\n"
    assert caller(file, key) is None
    assert caller(file, other).user_id == "ann"


@pytest.mark.parametrize("option", ["--user", "--application"])
def test_revoke_all_keys_of_one(amulet: Amulet, file: str, option: str) -> None:
    keys = {
        (which, name): amulet("keys", "create", which, name, "--keys", file).stdout.strip()
        for which in ("--user", "--application")
        for name in ("ann", "bob")
    }
    again = amulet("keys", "create", option, "ann", "--keys", file).stdout.strip()
    result = amulet("keys", "revoke", option, "ann", "--keys", file)

    assert len(result.stdout.splitlines()) == 2
    assert caller(file, again) is None
    gone = [named for named, key in keys.items() if caller(file, key) is None]
    assert gone == [(option, "ann")]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("create",), "give one of --user and --application"),
        (("create", "--user", "a", "--application", "b"), "give one of --user and --application"),
        (("create", "--user", ""), "empty"),
        (("create", "--user", "a\nb"), "control character"),
        (("create", "--user", "x" * 257), "257"),
        (("revoke",), "give one of ID"),
        (("revoke", "abc", "--user", "a"), "give one of ID"),
        (("revoke", "abc"), "There is no key abc"),
        (("revoke", "--user", "bob"), "There is no key of user bob"),
        (("revoke", "--application", "ann"), "There is no key of application ann"),
    ],
)
def test_mistakes_change_nothing(
    amulet: Amulet, file: str, args: tuple[str, ...], message: str
) -> None:
    amulet("keys", "create", "--user", "ann", "--keys", file)
    before = Path(file).read_bytes()
    result = amulet("keys", *args, "--keys", file)

    assert result.exit_code == 2
    assert result.stdout == ""
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert Path(file).read_bytes() == before


def test_a_mistyped_key_is_not_repeated(amulet: Amulet, file: str) -> None:
    key = amulet("keys", "create", "--user", "ann", "--keys", file).stdout.strip()
    result = amulet("keys", "revoke", key[:-1], "--keys", file)

    assert result.exit_code == 2
    assert key[20:40] not in result.output


@pytest.mark.parametrize("args", [("list",), ("revoke", "abc"), ("revoke", "--user", "ann")])
def test_a_missing_file_is_not_made(amulet: Amulet, file: str, args: tuple[str, ...]) -> None:
    result = amulet("keys", *args, "--keys", file)

    assert result.exit_code == 2
    assert "amulet keys create --user NAME" in result.stderr
    assert not Path(file).exists()


def test_without_a_file_it_is_asked_for(amulet: Amulet) -> None:
    result = amulet("keys", "create", "--user", "ann")

    assert result.exit_code == 2
    assert "--keys" in result.stderr
