"""Minutes of random arrivals, cancellations and errors on the embedded model."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter

import pytest

from amulet_integrations.engine import GenerationRequest, LocalEngine, run_on_worker
from amulet_integrations.engine.memory_use import trim_heap
from amulet_integrations.errors import (
    ContextLengthError,
    EngineOverloadedError,
    GenerationError,
    RequestTimeoutError,
)
from tests.support.busy import STATM, good_requests, resident_memory

pytestmark = [pytest.mark.acceptance, pytest.mark.model]

MINUTES = float(os.environ.get("AMULET_SOAK_MINUTES", "10"))
CALLERS = 12
MAX_WAITING = 4
DOCUMENT = "The ferry leaves at half past seven from the old stone pier. Dogs travel free. " * 4
QUESTIONS = [
    "What is tea?",
    "Name a river.",
    "Why is the sky blue?",
    f"{DOCUMENT} When does the ferry leave? Quote the text.",
    f"{DOCUMENT * 4} Do dogs pay?",
]
PREFERENCES = ["Be brief.", "Answer as a pirate would.", "Use a list."]


class Caller(threading.Thread):
    """Sends requests of all kinds until it is told to stop, and counts what came back."""

    def __init__(self, engine, requests, expected, seed, stop) -> None:
        super().__init__(daemon=True)
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._engine, self._requests, self._expected = engine, requests, expected
        self._random = random.Random(seed)
        self._stop_asked = stop

    def run(self) -> None:
        while not self._stop_asked.is_set():
            kind = self._random.choice(["good"] * 6 + ["cancel", "late", "long", "policy"])
            try:
                self.outcomes[getattr(self, f"_{kind}")()] += 1
            except EngineOverloadedError:
                self.outcomes["overloaded"] += 1
            except Exception as error:  # noqa: BLE001 - whatever it is, the test must tell
                self.wrong.append(repr(error))
            time.sleep(self._random.expovariate(1 / 0.3))

    def _good(self) -> str:
        which = self._random.randrange(len(self._requests))
        (result,) = self._engine.generate([self._requests[which]])
        if result != self._expected[which]:
            self.wrong.append(f"{result.text!r} instead of {self._expected[which].text!r}")
        return "good"

    def _cancel(self) -> str:
        with self._engine.stream(self._random.choice(self._requests)) as stream:
            for _ in range(self._random.randrange(4)):
                next(stream)
        return "cancelled"

    def _late(self) -> str:
        request = self._random.choice(self._requests)
        try:
            self._engine.generate([request.model_copy(update={"timeout": 0.05})])
        except RequestTimeoutError:
            return "late"
        return "in time"

    def _long(self) -> str:
        with pytest.raises(ContextLengthError):
            self._engine.generate([GenerationRequest(contexts=[[5] * 9000])])
        return "too long"

    def _policy(self) -> str:
        request = self._random.choice(self._requests)
        broken = GenerationRequest(contexts=request.contexts, policy=lambda _: 1 / 0)
        try:
            self._engine.generate([broken])
        except EngineOverloadedError:
            raise
        except GenerationError as error:
            return "failed" if "ZeroDivisionError" in str(error) else repr(error)
        return "nothing failed"


def resident_megabytes() -> float:
    run_on_worker(trim_heap)
    return resident_memory() / 1e6


@pytest.mark.skipif(not STATM.exists(), reason="reads Linux's /proc")
def test_soak():
    limits = {"max_rows": 8, "max_waiting": MAX_WAITING, "max_prefix_tokens": 4096}
    with LocalEngine.from_pretrained(**limits) as engine:
        requests = good_requests(engine, QUESTIONS, PREFERENCES, 12)
        expected = [engine.generate([request])[0] for request in requests]
        stop = threading.Event()
        callers = [Caller(engine, requests, expected, seed, stop) for seed in range(CALLERS)]
        for caller in callers:
            caller.start()
        waiting, memory = [], []
        end = time.monotonic() + 60 * MINUTES
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(5.0, left))
            waiting.append(engine.stats.waiting)
            memory.append((60 * MINUTES - left, resident_megabytes()))
        stop.set()
        for caller in callers:
            caller.join(120)
        assert not any(caller.is_alive() for caller in callers)
        # Everything goes on as if nothing had been.
        assert engine.generate(requests[:3]) == expected[:3]
    assert not [wrong for caller in callers for wrong in caller.wrong]
    outcomes = sum((caller.outcomes for caller in callers), Counter())
    after_a_minute = [megabytes for at, megabytes in memory if at > min(60, 20 * MINUTES)]
    tenth = max(1, len(after_a_minute) // 10)
    print(f"{MINUTES:g} minutes: {dict(outcomes)}; most waiting {max(waiting)}")  # noqa: T201
    print(f"MB early {max(after_a_minute[:tenth]):.0f}, late {max(after_a_minute[-tenth:]):.0f}")  # noqa: T201
    assert {"good", "cancelled", "late", "too long", "failed", "overloaded"} <= outcomes.keys()
    assert max(waiting) <= MAX_WAITING + limits["max_rows"]
    assert max(after_a_minute[-tenth:]) < 1.05 * max(after_a_minute[: 3 * tenth])
