"""Presets that were saved are found again, by whoever has the same model."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import pytest

from amulet_integrations.decoding.strength import Preset
from amulet_integrations.errors import AmuletError, InvalidParamsError
from amulet_integrations.personalization.saved_presets import (
    SavedPreset,
    check_presets_writable,
    find_preset,
    forget_preset,
    has_presets,
    presets_path,
    save_preset,
)

SAVED = SavedPreset(guidance_scale=2.5, max_kl=0.2, model="tiny", source="a test")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    folder = tmp_path / "config"
    monkeypatch.setenv("AMULET_CONFIG_DIR", str(folder))
    return folder


def test_nothing_is_saved_at_first(folder):
    assert not has_presets()
    assert find_preset("a") is None
    assert not forget_preset("a")
    check_presets_writable()
    assert not folder.exists()


def test_what_is_saved_is_found_and_can_be_forgotten(folder):
    path = save_preset("a", SAVED)
    assert path == folder / "presets.json"
    assert has_presets()
    assert find_preset("a") == SAVED
    assert find_preset("b") is None
    assert find_preset("a").preset == Preset(2.5, 0.2)
    assert json.loads(path.read_text()) == {
        "a": {"guidance_scale": 2.5, "max_kl": 0.2, "model": "tiny", "saved_at": SAVED.saved_at, "from": "a test"}  # noqa: E501
    }  # fmt: skip
    unbounded = SavedPreset(guidance_scale=1.5)
    save_preset("a", unbounded)
    save_preset("b", SAVED)
    assert (find_preset("a"), find_preset("b")) == (unbounded, SAVED)
    assert forget_preset("a")
    assert (find_preset("a"), find_preset("b")) == (None, SAVED)
    assert [file.suffix for file in sorted(folder.iterdir())] == [".json", ".lock"]


def test_a_file_that_another_process_writes_is_read_again():
    save_preset("a", SAVED)
    assert find_preset("b") is None
    code = "from amulet_integrations.personalization.saved_presets import *; save_preset('b', SavedPreset(guidance_scale=3.0))"  # noqa: E501
    subprocess.run([sys.executable, "-c", code], check=True)
    assert find_preset("b").guidance_scale == 3.0
    assert find_preset("a") == SAVED


def test_several_processes_lose_nothing():
    code = "import sys; from amulet_integrations.personalization.saved_presets import *; [save_preset(f'{sys.argv[1]}{n}', SavedPreset(guidance_scale=n)) for n in range(20)]"  # noqa: E501
    running = [subprocess.Popen([sys.executable, "-c", code, name]) for name in "abc"]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert len(json.loads(presets_path().read_text())) == 60


@pytest.mark.parametrize(
    "damaged", ["{", "[]", '{"a": {"guidance_scale": 2.0', "\0\0", "[" * 100_000]
)
def test_a_damaged_file_is_logged_once_counts_as_empty_and_is_kept(folder, damaged, caplog):
    save_preset("a", SAVED)
    presets_path().write_text(damaged)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert find_preset("a") is None
        assert not has_presets()
    assert len(caplog.records) == 1
    assert str(presets_path()) in caplog.text
    save_preset("b", SAVED)
    assert find_preset("b") == SAVED
    assert (folder / "presets.json.damaged").read_text() == damaged


def test_a_damaged_entry_spoils_no_other(caplog):
    save_preset("a", SAVED)
    entries = json.loads(presets_path().read_text())
    worse = {"b": {"guidance_scale": 2.0, "max_kl": -1}, "c": 7, "d": {"max_kl": 0.1}}
    presets_path().write_text(json.dumps(entries | worse))
    assert find_preset("a") == SAVED
    assert [find_preset(name) for name in "bcd"] == [None, None, None]
    assert len(caplog.records) == 3


@pytest.mark.parametrize("fields", [{"guidance_scale": float("nan")}, {"guidance_scale": 2, "max_kl": -0.1}])  # fmt: skip # noqa: E501
def test_what_is_no_strength_is_not_saved(fields):
    with pytest.raises(InvalidParamsError):
        SavedPreset(**fields)


def test_where_nothing_can_be_written_the_remedy_is_named(folder):
    folder.write_text("a file")
    for attempt in (check_presets_writable, lambda: save_preset("a", SAVED)):
        with pytest.raises(AmuletError, match="AMULET_CONFIG_DIR"):
            attempt()
    assert not has_presets()
