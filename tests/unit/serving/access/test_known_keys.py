"""The keys of a running server: what is found, what it costs, and how they follow the file."""

from __future__ import annotations

import hmac
import json
import logging
import os
import time
from pathlib import Path

import pytest

from amulet_integrations.errors import KeyFileError
from amulet_integrations.serving.access.caller import Caller
from amulet_integrations.serving.access.key_file import KeyFile
from amulet_integrations.serving.access.known_keys import KnownKeys

STRANGER = "amulet-0123456789ab-" + "A" * 43


def aged(file: KeyFile) -> None:
    """Waits until a change of the file is old enough for its time to identify it."""
    time.sleep(max(0.0, file.path.stat().st_ctime + 0.12 - time.time()))


class Reads(KeyFile):
    """A file of keys that counts how often it is read."""

    count = 0

    def read_version(self):
        Reads.count += 1
        return super().read_version()


def test_a_key_leads_to_its_caller(file: KeyFile, ann: str, web: str) -> None:
    known = KnownKeys(file)

    assert known.find(ann) == Caller(key_id=ann.split("-")[1], user_id="ann")
    assert known.find(web) == Caller(key_id=web.split("-")[1])
    assert known.find(web).may_name_users
    assert not known.find(ann).may_name_users


async def test_it_is_found_from_an_event_loop_too(file: KeyFile, ann: str) -> None:
    known = KnownKeys(file)
    bob = file.create(user_id="bob").text

    assert (await known.afind(bob)).user_id == "bob"
    assert (await known.afind(ann)).user_id == "ann"


def test_what_is_almost_a_key_is_nobodys(file: KeyFile, ann: str, bob: str) -> None:
    known = KnownKeys(file)
    _, key_id, secret = ann.split("-", 2)
    almost = [
        "",
        "amulet",
        "amulet--",
        key_id,
        secret,
        STRANGER,
        *(ann[:length] for length in range(len(ann))),
        *(ann + more for more in ("A", " ", "\n", "\0", "=", "-", ann)),
        *(before + ann for before in (" ", "\0", "x", "Bearer ")),
        ann.upper(),
        ann.swapcase(),
        ann.replace("amulet", "Amulet"),
        ann.replace("amulet", "amulеt"),  # noqa: RUF001 - a Cyrillic letter
        f"amulet-{key_id.upper()}-{secret}" if key_id.upper() != key_id else STRANGER,
        f"amulet-{bob.split('-')[1]}-{secret}",
        f"amulet-{key_id}-{bob.split('-', 2)[2]}",
        f"amulet-{key_id}-{'A' * 43}",
        f"amulet-{key_id}-{json.loads(file.path.read_text())['keys'][0]['sha256']}",
        json.loads(file.path.read_text())["keys"][0]["sha256"],
        "\ud800",
        "x" * 1_000_000,
    ]

    assert [key for key in almost if known.find(key) is not None] == []
    assert known.find(ann).user_id == "ann"


def test_every_refusal_compares_as_much(
    file: KeyFile, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What can be timed does not tell which ids there are, or how much of a secret is right."""
    known = KnownKeys(file)
    compared: list[tuple[int, int]] = []

    def counted(a: str, b: str) -> bool:
        compared.append((len(a), len(b)))
        return original(a, b)

    original = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", counted)
    for key in (ann, STRANGER, ann[:-1] + "!", ann[:-1], "", "nonsense", "x" * 5000):
        known.find(key)

    assert compared == [(64, 64)] * 7


def test_it_follows_the_file(file: KeyFile, ann: str) -> None:
    known = KnownKeys(file)
    for _ in range(5):  # within one tick of the clock too
        bob = file.create(user_id="bob")
        assert known.find(bob.text).user_id == "bob"
        file.revoke(lambda record, gone=bob.key_id: record.id == gone)
        assert known.find(bob.text) is None
        assert known.find(ann).user_id == "ann"


def test_two_changes_within_one_tick_of_the_clock_are_both_seen(file: KeyFile, ann: str) -> None:
    known = KnownKeys(file)
    bob = file.create(user_id="bob")
    assert known.find(bob.text) is not None
    status, content = file.path.stat(), json.loads(file.path.read_text())
    content["keys"][1]["user_id"] = "eve"
    with file.path.open("r+") as same_file:
        same_file.write(json.dumps(content, indent=2))
    os.utime(file.path, ns=(status.st_atime_ns, status.st_mtime_ns))

    assert known.find(bob.text).user_id == "eve"


def test_a_request_costs_a_stat_and_no_read(file: KeyFile, ann: str) -> None:
    aged(file)
    known = KnownKeys(Reads(file.path))
    Reads.count = 0
    for _ in range(50):
        known.find(ann)
        known.find(STRANGER)

    assert Reads.count == 0


def test_a_file_that_stays_broken_is_not_read_at_each_request(file: KeyFile, ann: str) -> None:
    known = KnownKeys(Reads(file.path))
    file.path.write_text("broken")
    aged(file)
    Reads.count = 0
    for _ in range(50):
        with pytest.raises(KeyFileError):
            known.find(ann)

    assert Reads.count == 1


@pytest.mark.parametrize("harm", ["deleted", "damaged", "emptied", "writable", "replaced"])
def test_while_the_file_cannot_be_used_nobody_is_let_in(
    file: KeyFile, ann: str, caplog: pytest.LogCaptureFixture, harm: str
) -> None:
    known = KnownKeys(file)
    good = file.path.read_bytes()
    aged(file)
    assert known.find(ann) is not None
    if harm == "deleted":
        file.path.unlink()
    elif harm == "damaged":
        file.path.write_text('{"keys": [')
    elif harm == "emptied":
        file.path.write_text("")
    elif harm == "writable":
        file.path.chmod(0o666)
    else:
        file.path.unlink()
        file.path.mkdir()
    with caplog.at_level(logging.WARNING):
        for key in (ann, STRANGER, ann):
            if harm == "emptied":
                assert known.find(key) is None
            else:
                with pytest.raises(KeyFileError):
                    known.find(key)

    errors = [it for it in caplog.records if it.levelno == logging.ERROR]
    assert len(errors) == (0 if harm == "emptied" else 1)
    assert ann not in caplog.text
    if harm == "replaced":
        file.path.rmdir()
    file.path.write_bytes(good)
    file.path.chmod(0o600)
    assert known.find(ann).user_id == "ann"
    assert ("can be used again" in caplog.text) == (harm != "emptied")


def test_others_who_may_read_are_warned_of_once(
    file: KeyFile, ann: str, caplog: pytest.LogCaptureFixture
) -> None:
    file.path.chmod(0o644)
    with caplog.at_level(logging.WARNING):
        known = KnownKeys(file)
        for number in range(3):
            file.create(user_id=f"user {number}")
            known.find(ann)

    assert [it.getMessage() for it in caplog.records if "Others may read" in it.getMessage()] == [
        caplog.records[0].getMessage()
    ]
    assert "chmod go-r" in caplog.text


def test_a_file_that_was_read_half_is_read_again(
    file: KeyFile, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editor writes the second half just after the server has read the first."""
    known = KnownKeys(file)
    good = file.path.read_bytes()
    file.path.write_bytes(good[:50])
    aged(file)
    read = KeyFile.read_version

    def overtaken(self: KeyFile):
        try:
            return read(self)
        finally:
            file.path.write_bytes(good)

    monkeypatch.setattr(KeyFile, "read_version", overtaken)
    with pytest.raises(KeyFileError):
        known.find(ann)
    monkeypatch.undo()
    assert known.find(ann).user_id == "ann"


def test_thousands_of_keys_are_read_once_and_looked_up_by_id(tmp_path: Path) -> None:
    file = Reads(tmp_path / "keys.json")
    key = file.create(user_id="ann").text
    content = json.loads(file.path.read_text())
    many = [{**content["keys"][0], "id": f"{it:012x}", "user_id": f"u{it}"} for it in range(5_000)]
    file.path.write_text(json.dumps({"keys": [*many, *content["keys"]]}))
    aged(file)
    known = KnownKeys(file)
    Reads.count = 0

    assert known.find(key).user_id == "ann"
    assert all(known.find(f"amulet-{it:012x}-{key.split('-', 2)[2]}") is None for it in range(500))
    assert Reads.count == 0
