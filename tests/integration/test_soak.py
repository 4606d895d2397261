"""Long runs of random users: each answer as if it were the only one, and nothing grows.

`make test` runs seconds of it on a tiny model; `make soak minutes=60` an hour on two models.
"""

from __future__ import annotations

import gc
import os
import random
import threading
from collections import Counter
from pathlib import Path
from statistics import median
from typing import NamedTuple

import pytest
import torch

from amulet_integrations.engine import LocalEngine, run_on_worker
from amulet_integrations.engine.kv.memory_use import trim_heap
from benchmarks.support.timing import nearly_all
from tests.support.busy import KEPT, Crowd, Wave
from tests.support.tiny import tiny_model, tiny_tokenizer
from tests.support.wrappers import WRAPPERS

PROC = Path("/proc/self")
ASKED_MINUTES = os.environ.get("AMULET_SOAK_MINUTES")
MINUTES = {"tiny": 0.1, "embedded": 5.0}
TOKENS = 16
SECONDS_OF_A_WAVE = 7.5
LIMITS = {"max_rows": 16, "max_prefix_tokens": 4096}
FIRST_TOKEN = 5.0  # seconds within which 95 of 100 honest users have their first token
EXPECTED = {
    "answered",
    "streamed",
    "stream closed",
    "task cancelled",
    "late",
    "profile changed",
    "refused",
    "hostile, refused",
}

pytestmark = pytest.mark.skipif(not PROC.exists(), reason="reads Linux's /proc")


class Use(NamedTuple):
    """What the process holds while nobody calls."""

    memory: int
    threads: int
    descriptors: int
    tensors: int

    @classmethod
    def now(cls) -> Use:
        for _ in range(3):  # until the engine has put away what was cancelled last
            run_on_worker(gc.collect)
        run_on_worker(trim_heap)
        return cls(
            memory=int((PROC / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
            threads=threading.active_count(),
            descriptors=len(list((PROC / "fd").iterdir())),
            tensors=sum(issubclass(type(it), torch.Tensor) for it in gc.get_objects()),
        )


def make_engine(model: str) -> LocalEngine:
    if model == "embedded":
        return LocalEngine.from_pretrained(**LIMITS)
    return LocalEngine(tiny_model(), tiny_tokenizer(), model_name="tiny", **LIMITS)


@pytest.mark.parametrize(
    "model",
    ["tiny", pytest.param("embedded", marks=[pytest.mark.acceptance, pytest.mark.model])],
)
def test_a_crowd(model, tmp_path):
    seconds = 60 * (float(ASKED_MINUTES) / 2 if ASKED_MINUTES else MINUTES[model])
    count = max(4, round(seconds / SECONDS_OF_A_WAVE))
    waves: list[Wave] = []
    uses: list[Use] = []
    compared = 0
    with make_engine(model) as engine, make_engine(model) as other:
        crowd = Crowd(engine, f"sqlite:///{tmp_path}/profiles.db", tokens=TOKENS)
        solo = {
            wrapper.name: wrapper.make(engine=other, profiles=None, max_tokens=TOKENS)
            for wrapper in WRAPPERS
        }
        for number in range(count):
            wave = crowd.run_wave(seconds / count, number, hostile=number % 2 == 1)
            assert not wave.wrong
            sample = random.Random(number).sample(wave.asked, min(KEPT, len(wave.asked)))
            for asked in sample:
                assert crowd.alone(asked, solo[asked.wrapper]) == asked.answer, asked
            compared += len(sample)
            wave.asked.clear()
            waves.append(wave)
            uses.append(Use.now())
        assert engine.stats.running == engine.stats.waiting == 0
        crowd.close()
    outcomes = sum((wave.outcomes for wave in waves), start=Counter())
    calm = nearly_all([wait for wave in waves[::2] for wait in wave.first_tokens])
    beside = nearly_all([wait for wave in waves[1::2] for wait in wave.first_tokens])
    print(f"{model}, {seconds / 60:g} minutes: {dict(outcomes)}; {compared} compared alone")  # noqa: T201
    print(f"First token, 95th percentile: {calm:.2f} s; beside hostile callers {beside:.2f} s")  # noqa: T201
    for quarter in range(5):
        number = quarter * (count - 1) // 4
        print(f"At rest after wave {number + 1} of {count}:", uses[number])  # noqa: T201
    assert outcomes.keys() >= EXPECTED
    assert max(calm, beside) < FIRST_TOKEN
    # The first waves warm up: kernels, tables of the tokenizer, pools; for memory
    # seconds are too few.
    early, late = uses[count // 4 : count // 2], uses[-(count // 4) :]
    if count >= 8:
        assert median(use.memory for use in late) < 1.05 * max(use.memory for use in early)
    # After a few waves not all threads of the pool are there, each with a connection of its own.
    spare = 4 if count >= 8 else 40
    for held in ("threads", "descriptors", "tensors"):
        before = max(getattr(use, held) for use in early)
        assert min(getattr(use, held) for use in late) <= 1.05 * before + spare, held
