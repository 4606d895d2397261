"""Many requests, good and bad, from sixteen threads."""

from __future__ import annotations

import gc
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from amulet_integrations.engine import (
    GenerationRequest,
    GenerationResult,
    LocalEngine,
    run_on_worker,
)
from amulet_integrations.engine.memory_use import trim_heap
from amulet_integrations.errors import (
    ContextLengthError,
    GenerationError,
    InvalidParamsError,
    InvalidRequestError,
)
from tests.support.busy import STATM, good_requests, resident_memory

QUESTIONS = ["What is tea?", "Name a river.", "Why is the sky blue?", "How do birds fly?"]
KINDS = ["good", "good", "good", "cancel", "long", "params", "id", "policy"]
PREFERENCES = ["Be brief.", "Answer as a pirate would."]


def run(engine: LocalEngine, expected: list[GenerationResult], number: int) -> str:
    """One caller: mostly good requests, and every way to be a bad one."""
    kind = random.Random(number).choice(
        ["good", "good", "good", "cancel", "long", "params", "id", "policy"]
    )
    which = number % len(expected)
    request = good_requests(engine, QUESTIONS, PREFERENCES, 8)[which]
    if kind == "good":
        assert engine.generate([request]) == [expected[which]]
    elif kind == "cancel":
        with engine.stream(request) as stream:
            next(stream)
    elif kind == "long":
        with pytest.raises(ContextLengthError, match="9000 tokens"):
            engine.generate([GenerationRequest(contexts=[[5] * 9000])])
    elif kind == "id":
        with pytest.raises(InvalidRequestError, match="999999"):
            engine.generate([GenerationRequest(contexts=[[999_999]])])
    elif kind == "policy":
        with pytest.raises(GenerationError, match="ZeroDivisionError"):
            engine.generate([GenerationRequest(contexts=request.contexts, policy=lambda _: 1 / 0)])
    else:
        with pytest.raises(InvalidParamsError, match="temperature"):
            engine.generate([request.model_copy(update={"sampling": {"temperature": -1}})])
    return kind


@pytest.mark.model
@pytest.mark.skipif(not STATM.exists(), reason="reads Linux's /proc")
@pytest.mark.parametrize("half", [40, pytest.param(100, marks=pytest.mark.acceptance)])
def test_many_requests_from_sixteen_threads(embedded_engine, half):
    expected = embedded_engine.generate(good_requests(embedded_engine, QUESTIONS, PREFERENCES, 8))
    memory, kinds = [], set()
    for part in range(2):
        numbers = range(half * part, half * (part + 1))
        with ThreadPoolExecutor(16) as callers:
            kinds |= set(
                callers.map(lambda number: run(embedded_engine, expected, number), numbers)
            )
        for _ in range(3):  # until the engine has put away what was cancelled last
            run_on_worker(gc.collect)
        run_on_worker(trim_heap)
        memory.append(resident_memory())
    assert kinds == set(KINDS)
    assert memory[1] < 1.03 * memory[0]
