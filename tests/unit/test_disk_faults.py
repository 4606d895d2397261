"""A disk that is full, damaged or read-only: an error of ours, and nothing half-written."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from safetensors.numpy import save_file

from amulet_integrations.engine.backends.transformers.loading import embedded
from amulet_integrations.errors import ModelCacheError, ProfileStoreError
from amulet_integrations.files import replace_file
from amulet_integrations.profiles import PreferenceProfile, SqlProfileStore

ANN = PreferenceProfile(user_id="ann", preferences=["Use metric units."])

FULL = """
import resource, signal, sys
from pathlib import Path
from amulet_integrations.errors import ProfileStoreError
from amulet_integrations.profiles import PreferenceProfile, SqlProfileStore

def profile(user):
    return PreferenceProfile(user_id=user, preferences=["x" * 1900])

def limit(size):  # a file that grows beyond it fails as on a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path(sys.argv[1])
with SqlProfileStore(path) as store:
    store.save(profile("ann"))
    limit(Path(f"{path}-wal").stat().st_size + 20_000)
    saved = ["ann"]
    try:
        while len(saved) < 100:
            store.save(profile(f"user {len(saved)}"))
            saved.append(f"user {len(saved)}")
    except ProfileStoreError as error:
        assert str(path) in str(error), error
        print("refused")
    assert store.user_ids() == saved and store.get("ann").preferences == profile("ann").preferences
    limit(resource.RLIM_INFINITY)
    store.save(profile("zoe"))
with SqlProfileStore(path) as store:
    assert store.user_ids() == [*saved, "zoe"]
"""
READ_ONLY = """
import os, sys
from pathlib import Path
import amulet_integrations.engine  # before the rights are given up
from amulet_integrations.errors import AmuletError
from amulet_integrations.personalization.saved_presets import check_presets_writable, forget_preset
from amulet_integrations.profiles import PreferenceProfile, SqlProfileStore

home = Path(sys.argv[1])
os.environ.update(HOME=str(home), XDG_DATA_HOME=f"{home}/data", AMULET_CONFIG_DIR=f"{home}/config")
os.environ.pop("AMULET_PROFILES", None)
ann = PreferenceProfile(user_id="ann", preferences=["Be brief."])
os.setuid(65534)
for work in (lambda: SqlProfileStore().save(ann), check_presets_writable):
    try:
        work()
    except AmuletError as error:
        assert str(home) in str(error), error
        print(type(error).__name__)
"""


def run(code: str, *args: object) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files")
def test_a_full_disk_refuses_a_save_and_loses_nothing(tmp_path):
    assert run(FULL, tmp_path / "profiles.db") == "refused\n"


@contextmanager
def full_disk(size):
    """No file of this process grows beyond `size` bytes, as on a disk with that much left."""
    import resource  # not on Windows

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files")
def test_a_full_disk_leaves_the_model_cache_empty(tmp_path, monkeypatch):
    def convert(gguf, folder):
        (folder / "config.json").write_text("{}")
        save_file({"weights": np.zeros(1 << 20)}, folder / "model.safetensors")

    monkeypatch.setenv("AMULET_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(embedded, "_convert", convert)
    with full_disk(1 << 20), pytest.raises(ModelCacheError, match="cannot be kept in"):
        embedded.embedded_model_path()
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []
    assert (embedded.embedded_model_path() / "model.safetensors").stat().st_size > 8 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files")
def test_a_full_disk_leaves_a_replaced_file_as_it_was(tmp_path):
    path = tmp_path / "presets.json"
    replace_file(path, b"{}")
    with full_disk(1 << 16), pytest.raises(OSError, match="File too large"):
        replace_file(path, b"x" * (1 << 20))
    assert (list(tmp_path.iterdir()), path.read_bytes()) == ([path], b"{}")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user"
)
def test_a_home_that_cannot_be_written_is_named(tmp_path):
    with TemporaryDirectory() as folder:  # not in pytest's, which nobody else may enter
        Path(folder).chmod(0o755)
        assert run(READ_ONLY, folder) == "ProfileStoreError\nAmuletError\n"
        assert list(Path(folder).iterdir()) == []


@pytest.mark.parametrize("kept", [10, 100, 1000, 4096, 10_000])
@pytest.mark.parametrize("work", ["get", "save", "user_ids"])
def test_a_truncated_file_is_refused_and_stays_as_it_is(tmp_path, kept, work):
    path = tmp_path / "profiles.db"
    with SqlProfileStore(path) as store:
        store.save(ANN)
    path.write_bytes(damaged := path.read_bytes()[:kept])
    works = {
        "get": lambda store: store.get("ann"),
        "save": lambda store: store.save(ANN),
        "user_ids": lambda store: store.user_ids(),
    }
    with (
        pytest.raises(ProfileStoreError, match=r"profiles\.db: .*(malformed|not a database)"),
        SqlProfileStore(path) as store,
    ):
        works[work](store)
    assert path.read_bytes() == damaged
