"""The embedded model's conversion, killed at random moments, for real."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

pytestmark = pytest.mark.acceptance

CONVERT = """
from amulet_integrations.engine.backends.transformers.loading.embedded import embedded_model_path
print(embedded_model_path())
"""
LOAD = """
from amulet_integrations.engine import GenerationRequest, LocalEngine
from amulet_integrations import SamplingParams
from amulet_integrations.prompting import ChatMessage, PromptBuilder
engine = LocalEngine.from_pretrained()
question = [ChatMessage(role="user", content="What is the capital of France?")]
contexts = PromptBuilder(engine.tokenizer).contexts(question, [None])
sampling = SamplingParams(max_new_tokens=12)
print(engine.generate([GenerationRequest(contexts=contexts, sampling=sampling)])[0].text)
"""


def test_killed_ten_times_and_then_whole(tmp_path):
    environment = {**os.environ, "AMULET_CACHE_DIR": str(tmp_path)}
    moments = random.Random(0)
    folder = tmp_path / "smollm2-135m-instruct"
    for _ in range(10):
        conversion = subprocess.Popen([sys.executable, "-c", CONVERT], env=environment)
        try:
            conversion.wait(timeout=moments.uniform(2.0, 20.0))
        except subprocess.TimeoutExpired:
            conversion.send_signal(signal.SIGKILL)
            conversion.wait()
        assert not folder.exists() or (folder / "model.safetensors").stat().st_size > 500_000_000
    ran = subprocess.run(
        [sys.executable, "-c", LOAD], env=environment, check=True, capture_output=True, text=True
    )
    assert "Paris" in ran.stdout
    assert not list(tmp_path.glob("*.partial-*"))


def bytes_written(cache):
    """What the largest file of a conversion under way takes on the disk; its size comes first."""
    sizes = [0]
    for path in cache.glob("*.partial-*/*"):
        with suppress(FileNotFoundError):  # it has another name by now
            sizes.append(512 * path.stat().st_blocks)
    return max(sizes)


def test_killed_while_the_weights_are_written(tmp_path):
    environment = {**os.environ, "AMULET_CACHE_DIR": str(tmp_path)}
    conversion = subprocess.Popen([sys.executable, "-c", CONVERT], env=environment)
    while bytes_written(tmp_path) < 20_000_000:
        assert conversion.poll() is None, "It ended before it was killed."
        time.sleep(0.001)
    conversion.send_signal(signal.SIGKILL)
    conversion.wait()
    assert bytes_written(tmp_path) < 500_000_000
    folder = tmp_path / "smollm2-135m-instruct"
    assert not folder.exists()
    ran = subprocess.run(
        [sys.executable, "-c", LOAD], env=environment, check=True, capture_output=True, text=True
    )
    assert "Paris" in ran.stdout
    assert not list(tmp_path.glob("*.partial-*"))


def test_four_processes_convert_once(tmp_path):
    environment = {**os.environ, "AMULET_CACHE_DIR": str(tmp_path)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CONVERT], env=environment, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    outputs = {process.communicate()[0].strip() for process in processes}
    assert outputs == {str(tmp_path / "smollm2-135m-instruct")}
