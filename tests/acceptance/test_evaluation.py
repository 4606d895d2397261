"""An evaluation that is killed ten times gives what one gives that is left alone."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.evaluations import lines_of, running

pytestmark = [pytest.mark.model, pytest.mark.acceptance]

KILLS = 10
PATIENCE = 900
TOLERANCE = 1e-4  # kernels are chosen by measuring, and round differently


def lines_of_run(process: subprocess.Popen[str]) -> Iterator[str]:
    """Yields the progress of a run, from the line that says where it is resumed."""
    output = []
    for line in process.stdout:
        output.append(line)
        if line.startswith("answers"):
            yield line
            yield from process.stdout
            return
    pytest.fail(f"It ended before it answered: {''.join(output)}")


def to_the_end(folder: Path, temperature: str) -> list[tuple[int, float]]:
    """Runs to the end; returns after how many seconds there were how many lines of journals."""
    moments = []
    with running("embedded", folder, temperature, patience=PATIENCE) as process:
        lines = lines_of_run(process)
        output = [next(lines)]
        started = time.monotonic()
        for line in lines:
            output.append(line)
            moments.append((kept_in(folder), time.monotonic() - started))
        assert process.wait(PATIENCE) == 0, "".join(output)
        return [*moments, (kept_in(folder), time.monotonic() - started)]


def kill(folder: Path, temperature: str, seconds: float) -> None:
    """Kills a run so many seconds after it was resumed."""
    with running("embedded", folder, temperature, patience=PATIENCE) as process:
        next(lines_of_run(process))
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL, "It ended before it was killed."


def kept_in(folder: Path) -> int:
    """Lines of all journals."""
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("*.jsonl"))


@pytest.mark.parametrize("temperature", ["0", "0.8"])
def test_a_run_killed_ten_times_equals_one_that_was_not(tmp_path, temperature):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    moments = to_the_end(whole, temperature)
    draw = random.Random(8)
    kept = [0]
    for _ in range(KILLS):
        # A share of the time that is left, so that most runs come some way and none to the end.
        reached = max((at for lines, at in moments if lines <= kept[-1]), default=0.0)
        kill(broken, temperature, draw.uniform(0.1, 0.35) * (moments[-1][1] - reached))
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
