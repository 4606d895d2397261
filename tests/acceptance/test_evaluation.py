"""An evaluation that is killed ten times gives what one gives that is left alone."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.evaluations import lines_of

pytestmark = [pytest.mark.model, pytest.mark.acceptance]

ROOT = Path(__file__).parents[2]
KILLS = 10
PATIENCE = 900
TOLERANCE = 1e-4  # kernels are chosen by measuring, and round differently


def start(folder: Path, temperature: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.evaluations", "embedded", str(folder), temperature],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for_answers(process: subprocess.Popen[str]) -> None:
    """Reads what a run tells until it says where it goes on; what loading says comes first."""
    while not process.stdout.readline().startswith("answers"):
        assert process.poll() is None, "It ended before it told anything."


def to_the_end(folder: Path, temperature: str) -> float:
    """Runs to the end; returns for how many seconds after the model was loaded."""
    process = start(folder, temperature)
    wait_for_answers(process)
    started = time.monotonic()
    told, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, told
    return time.monotonic() - started


def kill(folder: Path, temperature: str, seconds: float) -> None:
    """Kills a run so many seconds after it told where it goes on."""
    process = start(folder, temperature)
    wait_for_answers(process)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, f"It ended before it was killed: {told}"


def kept_in(folder: Path) -> int:
    """Lines of all journals."""
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("*.jsonl"))


@pytest.mark.parametrize("temperature", ["0", "0.8"])
def test_a_run_killed_ten_times_equals_one_that_was_not(tmp_path, temperature):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    usual = to_the_end(whole, temperature)
    all_lines = kept_in(whole)
    draw = random.Random(8)
    kept = [0]
    for _ in range(KILLS):
        # A share of what is left, so that most runs come some way and none to the end.
        left = usual * (1 - kept[-1] / all_lines)
        kill(broken, temperature, draw.uniform(0.1, 0.5) * left)
        kept.append(kept_in(broken))
    assert kept == sorted(kept)
    assert len(set(kept)) > 3, f"The kills came at so few places: {kept}"
    to_the_end(broken, temperature)

    assert lines_of(broken) == lines_of(whole)
    scores, expected = (lines_of(folder, "scores.jsonl") for folder in (broken, whole))
    assert len(scores) == len(expected) == len(lines_of(whole))
    for found, right in zip(by_key(scores), by_key(expected), strict=True):
        assert found.pop("scores") == pytest.approx(right.pop("scores"), abs=TOLERANCE)
        assert found == right


def by_key(lines):
    return sorted(lines, key=lambda line: [str(line[name]) for name in sorted(line)][:-1])
