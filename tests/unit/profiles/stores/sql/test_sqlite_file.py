"""The file of an SQLite database: private, and noticed when it is deleted or replaced."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from pathlib import Path

import platformdirs
import pytest

from amulet_integrations.errors import ProfileStoreError
from amulet_integrations.langchain import ChatAmulet
from amulet_integrations.profiles import PreferenceProfile, SqlProfileStore

ANN = PreferenceProfile(user_id="ann", preferences=["Use metric units."])
pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")


@pytest.fixture(autouse=True)
def usual_umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


def modes(folder):
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


def test_what_is_made_is_readable_by_its_owner_only(tmp_path):
    folder = tmp_path / "new" / "folder"
    with SqlProfileStore(folder / "profiles.db") as store:
        store.save(ANN)
        found = modes(folder)
        assert found == dict.fromkeys(["profiles.db", "profiles.db-wal", "profiles.db-shm"], 0o600)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_file_at_the_default_place_becomes_private(tmp_path, monkeypatch):
    monkeypatch.setattr(platformdirs, "user_data_dir", lambda name: str(tmp_path / name))
    folder = tmp_path / "amulet-integrations"
    folder.mkdir(mode=0o755)
    (folder / "profiles.db").touch(mode=0o644)
    with SqlProfileStore() as store:
        store.save(ANN)
        assert set(modes(folder).values()) == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_rights_of_a_file_elsewhere_are_its_owners_to_set(tmp_path):
    (tmp_path / "team.db").touch(mode=0o660)
    (tmp_path / "team.db").chmod(0o660)
    with SqlProfileStore(tmp_path / "team.db") as store:
        store.save(ANN)
        assert set(modes(tmp_path).values()) == {0o660}


def remove(path):
    path.unlink()


def replace(path):
    shutil.copy(path, path.with_name("copy"))
    path.with_name("copy").replace(path)


def move_folder(path):
    path.parent.rename(path.parent.with_name("moved"))


WORK = {
    "save": lambda store: store.save(ANN),
    "asave": lambda store: asyncio.run(store.asave(ANN)),
    "get": lambda store: store.get("ann"),
    "delete": lambda store: store.delete("ann"),
    "update": lambda store: store.update("ann", lambda it: ANN),
    "user_ids": lambda store: store.user_ids(),
    "history": lambda store: store.history("ann"),
    "erase": lambda store: store.erase("ann"),
}


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("harm", [remove, replace, move_folder])
def test_nothing_is_written_into_a_file_that_is_gone(tmp_path, harm, work):
    path = tmp_path / "folder" / "profiles.db"
    with SqlProfileStore(path) as store:
        store.save(ANN)
        harm(path)
        with pytest.raises(ProfileStoreError, match=r"profiles\.db: the file was (deleted|repl)"):
            WORK[work](store)
        assert path.exists() == (harm is replace)


def test_a_file_that_comes_back_is_used_again(tmp_path):
    path = tmp_path / "profiles.db"
    with SqlProfileStore(path) as store:
        store.save(ANN)
        path.rename(tmp_path / "away")
        with pytest.raises(ProfileStoreError, match="was deleted"):
            store.get("ann")
        (tmp_path / "away").rename(path)
        assert store.get("ann").version == 1


@pytest.mark.parametrize(
    "mistyped",
    [
        "postgresql:/ann:secret@host/profiles",
        "postgres:ann:secret@host/profiles",
        Path("postgresql://ann:secret@host/profiles"),
        " postgresql:/ann:secret@host/profiles",
        "postgresql//ann:secret@host/profiles",
        "//ann:secret@host/profiles",
        "ann:secret@host/profiles",
        "postgresql;//ann:secret@host/profiles",
        "sqlite:/secret.db",
        "file:secret.db",
    ],
)
def test_a_mistyped_url_is_no_path(tmp_path, monkeypatch, mistyped):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProfileStoreError, match="looks like a URL") as refused:
        SqlProfileStore(mistyped)
    assert "secret" not in str(refused.value)
    llm = ChatAmulet(profiles=mistyped)
    assert "secret" not in repr(llm)
    with pytest.raises(ProfileStoreError) as refused:
        llm.invoke("Hello", user_id="ann")
    assert "secret" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_name_with_a_colon_is_given_as_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with SqlProfileStore("./profiles:v2.db") as store:
        assert store.save(ANN).version == 1
    assert (tmp_path / "profiles:v2.db").exists()
