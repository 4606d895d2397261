"""A run of an evaluation that can be started as a process of its own, and killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from amulet_integrations.engine import ModelSource, shared_engine
from amulet_integrations.evaluation import Evaluation, Progress, Question, evaluate
from tests.support.tiny import tiny_engine

QUESTIONS = [
    Question(data_set="asked", index=index, text=text)
    for index, text in enumerate(
        ["How do I make tea?", "Why is the sea blue?", "What should I read on a long train ride?"]
    )
]
ROOT = Path(__file__).parents[2]
METHODS = ["base", "beam_search@2", "amulet@10"]


def run(model: str, output: str | Path, temperature: float = 0.0) -> Evaluation:
    """A short evaluation in float32."""
    engine = tiny_engine() if model == "tiny" else shared_engine(ModelSource(dtype="float32"))
    return evaluate(
        engine,
        QUESTIONS,
        ["creative", "concise"],
        METHODS,
        max_new_tokens=16,
        temperature=temperature,
        output=output,
        progress=_print_progress,
    )


@contextmanager
def running(
    model: str, output: Path, temperature: str = "0", *, patience: float
) -> Iterator[subprocess.Popen[str]]:
    """The same in a process of its own, which ends with the block, or after some seconds."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.evaluations", model, str(output), temperature],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    clock = threading.Timer(patience, process.kill)
    clock.start()
    try:
        yield process
    finally:
        clock.cancel()
        process.kill()
        process.communicate()


def _print_progress(progress: Progress) -> None:
    sys.stdout.write(f"{progress.stage} {progress.done}\n")
    sys.stdout.flush()


def lines_of(folder: Path, name: str = "answers.jsonl") -> list[dict[str, Any]]:
    """The lines of a journal, sorted and without timings."""
    lines = [json.loads(line) for line in (folder / name).read_text().splitlines()]
    for line in lines:
        line.pop("seconds", None)
    return sorted(lines, key=json.dumps)


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2], float(sys.argv[3]))
