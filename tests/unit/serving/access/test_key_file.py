"""The file of keys: what stands in it, who may write it, and what happens to it meanwhile."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from filelock import FileLock

from amulet_integrations.errors import InvalidParamsError, InvalidProfileError, KeyFileError
from amulet_integrations.serving.access import key_file
from amulet_integrations.serving.access.key_file import KeyFile
from amulet_integrations.serving.access.known_keys import KnownKeys

NOBODY = 65_534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")


def entries(file: KeyFile) -> list[dict[str, str]]:
    return json.loads(file.path.read_text())["keys"]


def entry(**changes: object) -> dict[str, object]:
    good = {
        "id": "0123456789ab",
        "user_id": "ann",
        "created_at": "2027-01-01T00:00:00Z",
        "sha256": "0" * 64,
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def test_a_key_is_kept_as_its_hash_and_nowhere_else(file: KeyFile, ann: str) -> None:
    (kept,) = entries(file)

    prefix, key_id, secret = ann.split("-", 2)
    assert (prefix, kept["id"], kept["user_id"]) == ("amulet", key_id, "ann")
    assert kept["sha256"] == hashlib.sha256(ann.encode()).hexdigest()
    assert len(secret) * 6 >= 256
    assert all(secret not in path.read_text() for path in file.path.parent.iterdir())
    assert datetime.fromisoformat(kept["created_at"]).tzinfo == UTC


def test_keys_are_all_different(file: KeyFile) -> None:
    keys = [file.create(user_id="ann").text for _ in range(20)]

    assert len({key[:20] for key in keys}) == len({key[-43:] for key in keys}) == 20


def test_the_file_is_its_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "new" / "keys.json")
    before = os.umask(0)
    try:
        file.create(user_id="ann")
    finally:
        os.umask(before)

    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700
    assert all(it.stat().st_mode & 0o077 == 0 for it in file.path.parent.iterdir())


def test_a_file_that_a_group_reads_stays_so(file: KeyFile, ann: str) -> None:
    file.path.chmod(0o640)
    file.create(user_id="bob")

    assert stat.S_IMODE(file.path.stat().st_mode) == 0o640


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o777])
def test_a_file_that_others_may_write_is_refused(file: KeyFile, ann: str, mode: int) -> None:
    file.path.chmod(mode)
    before = file.path.read_bytes()

    for use in (
        file.read,
        lambda: KnownKeys(file),
        lambda: file.create(user_id="eve"),
        lambda: file.revoke(lambda _: True),
    ):
        with pytest.raises(KeyFileError, match=r"Others may write .*chmod go-w"):
            use()
    assert file.path.read_bytes() == before


def test_a_file_in_a_folder_that_everybody_may_write_is_refused(file: KeyFile, ann: str) -> None:
    file.path.parent.chmod(0o777)
    with pytest.raises(KeyFileError, match=r"Others may replace .*chmod o-w"):
        file.read()

    new = KeyFile(file.path.with_name("new.json"))
    with pytest.raises(KeyFileError, match="Others may replace"):
        new.create(user_id="ann")
    assert not new.path.exists()

    file.path.parent.chmod(0o1777)  # as /tmp: nobody can replace another one's file
    assert len(file.read().keys) == 1


@needs_root
def test_a_file_that_is_given_to_a_group_stays_so(file: KeyFile, ann: str) -> None:
    os.chown(file.path, 0, NOBODY)
    file.path.chmod(0o640)
    file.create(user_id="bob")

    status = file.path.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (0, NOBODY, 0o640)


@needs_root
def test_a_file_of_another_user_is_refused(file: KeyFile, ann: str) -> None:
    os.chown(file.path, NOBODY, NOBODY)
    with pytest.raises(KeyFileError, match="belongs to another user"):
        file.read()


@needs_root
def test_a_link_of_another_user_is_refused(file: KeyFile, ann: str, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(file.path)
    assert KeyFile(link).read() == file.read()

    os.chown(link, NOBODY, NOBODY, follow_symlinks=False)
    with pytest.raises(KeyFileError, match=r"The link .* is another user's"):
        KeyFile(link).read()


def test_a_link_to_a_file_that_others_may_write_is_refused(
    file: KeyFile, ann: str, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(file.path)
    file.path.chmod(0o666)

    with pytest.raises(KeyFileError, match="Others may write"):
        KeyFile(link).read()


def test_a_link_stays_when_a_key_is_made(file: KeyFile, ann: str, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(file.path)
    KeyFile(link).create(user_id="bob")

    assert link.is_symlink()
    assert [it["user_id"] for it in entries(file)] == ["ann", "bob"]


def test_a_planted_unfinished_file_is_not_written_through(file: KeyFile, tmp_path: Path) -> None:
    other = tmp_path / "precious"
    other.write_text("precious")
    (tmp_path / ".keys.json.new").symlink_to(other)
    file.create(user_id="ann")

    assert other.read_text() == "precious"
    assert not file.path.is_symlink()


@pytest.mark.parametrize("kind", ["folder", "pipe", "NUL"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "keys"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path, 0o600)
    else:
        path = Path("keys\0")

    with pytest.raises(KeyFileError, match=r"is no file|NUL"):
        KeyFile(path).read()


def test_a_missing_file_says_how_a_key_is_made(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "my keys.json")

    for use in (file.read, lambda: KnownKeys(file), lambda: file.revoke(lambda _: True)):
        with pytest.raises(KeyFileError, match=r"no file .*amulet keys create .*'.*my keys.json'"):
            use()
    assert list(tmp_path.iterdir()) == []


SECRET = "s3cret-content"


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (f'{{"version": 1,\n "keys": [{SECRET}]}}', "line 2 column"),
        (f'{{"keys": "{SECRET}"}}', "keys is missing or not valid"),
        (f'["{SECRET}"]', "the whole is missing or not valid"),
        (f'{{"{SECRET}": 1}}', "the whole holds what is not known"),
        ('{"version": 2}', "version"),
        (SECRET.encode() + b"\xff", "line 1"),
        (b"[" * 100_000, "line 1"),
        ({"keys": [entry(), entry(id=SECRET)]}, r"key 2 \(id\)"),
        ({"keys": [entry(sha256=SECRET)]}, r"key 1 \(sha256\)"),
        ({"keys": [entry(sha256=None)]}, r"key 1 \(sha256\)"),
        ({"keys": [entry(created_at=SECRET)]}, r"key 1 \(created_at\)"),
        ({"keys": [entry(user_id=SECRET + "\0")]}, r"key 1 \(user_id\)"),
        ({"keys": [entry(user_id="")]}, r"key 1 \(user_id\)"),
        ({"keys": [entry(user_id=None)]}, "key 1 has to have one of user_id and application"),
        ({"keys": [entry(application=SECRET)]}, "key 1 has to have one of user_id"),
        ({"keys": [entry(**{SECRET: 1})]}, "key 1 holds what is not known"),
        ({"keys": [entry(), entry(user_id=SECRET)]}, "the whole has two keys of one id"),
    ],
)
def test_a_damaged_file_is_named_with_the_place_and_not_quoted(
    file: KeyFile, content: object, place: str
) -> None:
    if isinstance(content, dict):
        content = json.dumps(content)
    file.path.write_bytes(content if isinstance(content, bytes) else str(content).encode())
    file.path.chmod(0o600)

    with pytest.raises(KeyFileError, match=f"{file.path} is damaged: .*{place}") as refused:
        file.read()
    assert SECRET not in str(refused.value)
    assert refused.value.__cause__ is refused.value.__context__ is None
    with pytest.raises(KeyFileError, match="is damaged"):
        file.create(user_id="ann")  # nothing that could be mended is written over


def test_an_empty_file_holds_no_keys(file: KeyFile) -> None:
    file.path.touch(0o600)

    assert file.read().keys == ()
    assert KnownKeys(file).find("amulet-0123456789ab-" + "A" * 43) is None
    file.create(user_id="ann")
    assert len(file.read().keys) == 1


def test_keys_that_are_made_and_revoked_at_once_are_all_kept(file: KeyFile) -> None:
    def work(number: int) -> str:
        mine = KeyFile(file.path)
        gone = mine.create(user_id=f"gone {number}")
        kept = mine.create(user_id=f"user {number}").text
        mine.revoke(lambda record: record.id == gone.key_id)
        return kept

    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(work, range(16)))

    known = KnownKeys(file)
    assert [known.find(key).user_id for key in made] == [f"user {it}" for it in range(16)]
    assert len(file.read().keys) == 16


def test_a_process_that_holds_the_file_is_named_after_a_while(
    file: KeyFile, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_file, "_SECONDS_TO_WAIT", 0.05)
    lock = FileLock(file.path.with_name(".keys.json.lock"))
    with lock, pytest.raises(KeyFileError, match="Another process"):
        file.create(user_id="bob")


def test_a_full_disk_leaves_the_file_as_it_was(
    file: KeyFile, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = file.path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KeyFileError, match="cannot be written: No space left"):
        file.create(user_id="bob")
    assert file.path.read_bytes() == before
    assert not list(file.path.parent.glob("*.new"))


@pytest.mark.parametrize("given", [{}, {"user_id": "ann", "application": "web"}])
def test_a_key_is_of_one(file: KeyFile, given: dict[str, str]) -> None:
    with pytest.raises(InvalidParamsError, match="one of both"):
        file.create(**given)
    assert not file.path.exists()


@pytest.mark.parametrize("field", ["user_id", "application"])
@pytest.mark.parametrize("name", ["", "  ", "a\nb", "\x00", "x" * 257, "\ud800"])
def test_a_name_that_no_user_may_have_is_refused(file: KeyFile, field: str, name: str) -> None:
    with pytest.raises(InvalidProfileError, match=field):
        file.create(**{field: name})
    assert not file.path.exists()
