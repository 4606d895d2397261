"""Bars while a model is loaded: where somebody watches, and never against the user's settings."""

from __future__ import annotations

import io
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from huggingface_hub.utils import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)
from transformers.utils import logging

from amulet_integrations.engine import LocalEngine
from amulet_integrations.engine.backends.transformers.loading.loading_bars import only_watched_bars
from tests.llama_cpp.tiny_gguf import write_tiny_gguf
from tests.support.tiny import tiny_model


@pytest.fixture(scope="module")
def gguf_file(tmp_path_factory):
    return str(write_tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", tiny_model()))


@pytest.fixture(autouse=True)
def own_settings(monkeypatch):
    """Bars are on before each test, and after it as they were."""
    before = logging.is_progress_bar_enabled()
    logging.enable_progress_bar()
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    yield
    enable_progress_bars()
    (logging.enable_progress_bar if before else logging.disable_progress_bar)()


class Stderr(io.StringIO):
    def __init__(self, *, terminal):
        super().__init__()
        self.terminal = terminal

    def isatty(self):
        return self.terminal


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("settings", ["both", "none", "no hub"])
def test_loading_draws_bars_on_terminals_only_and_changes_no_setting(
    checkpoint, monkeypatch, terminal, settings
):
    if settings != "both":
        (logging.disable_progress_bar if settings == "none" else disable_progress_bars)()
    before = logging.is_progress_bar_enabled(), are_progress_bars_disabled()
    monkeypatch.setattr(sys, "stderr", stderr := Stderr(terminal=terminal))
    LocalEngine.from_pretrained(checkpoint).close()
    assert ("Loading weights" in stderr.getvalue()) == (terminal and settings != "none")
    assert (logging.is_progress_bar_enabled(), are_progress_bars_disabled()) == before


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("enabled", [False, True])
def test_the_bar_of_a_gguf_file_is_drawn_as_the_others_are(
    gguf_file, monkeypatch, terminal, enabled
):
    if not enabled:
        logging.disable_progress_bar()
    monkeypatch.setattr(sys, "stderr", stderr := Stderr(terminal=terminal))
    LocalEngine.from_pretrained(gguf_file, backend="transformers").close()
    assert ("de-quantizing" in stderr.getvalue()) == (terminal and enabled)
    assert ("Loading weights" in stderr.getvalue()) == (terminal and enabled)


def test_a_group_of_bars_that_the_user_has_switched_off_stays_off(checkpoint, monkeypatch):
    disable_progress_bars("huggingface_hub.snapshot_download")
    monkeypatch.setattr(sys, "stderr", Stderr(terminal=False))
    LocalEngine.from_pretrained(checkpoint).close()
    assert are_progress_bars_disabled("huggingface_hub.snapshot_download")
    assert not are_progress_bars_disabled()


def test_a_thread_that_is_done_leaves_the_bars_of_another_off(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Stderr(terminal=False))
    entered, leave = threading.Event(), threading.Event()

    def load_first():
        with only_watched_bars():
            entered.set()
            leave.wait(10)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(load_first)
        entered.wait(10)
        with only_watched_bars():
            leave.set()
            first.result(10)
            assert not logging.is_progress_bar_enabled()
    assert logging.is_progress_bar_enabled()
