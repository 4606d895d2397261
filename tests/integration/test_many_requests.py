"""Many requests, good and bad, from sixteen threads."""

from __future__ import annotations

import gc
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from amulet_integrations import AmuletParams, SamplingParams
from amulet_integrations.decoding import amulet_weights
from amulet_integrations.engine import (
    GenerationRequest,
    GenerationResult,
    LocalEngine,
    run_on_worker,
)
from amulet_integrations.engine.memory import give_back_memory
from amulet_integrations.errors import (
    ContextLengthError,
    GenerationError,
    InvalidParamsError,
    InvalidRequestError,
)
from amulet_integrations.prompting import ChatMessage, PromptBuilder

WEIGHTS = amulet_weights(AmuletParams(iterations=2))
QUESTIONS = ["What is tea?", "Name a river.", "Why is the sky blue?", "How do birds fly?"]
KINDS = ["good", "good", "good", "cancel", "long", "params", "id", "policy"]
PREFERENCES = ["Be brief.", "Answer as a pirate would."]


def good_requests(engine: LocalEngine) -> list[GenerationRequest]:
    prompts = PromptBuilder(engine.tokenizer)
    return [
        GenerationRequest(
            contexts=prompts.contexts([ChatMessage(role="user", content=question)], [None, text]),
            weights=WEIGHTS,
            sampling=SamplingParams(max_new_tokens=8),
        )
        for question in QUESTIONS
        for text in PREFERENCES
    ]


def run(engine: LocalEngine, expected: list[GenerationResult], number: int) -> str:
    """One caller: mostly good requests, and every way to be a bad one."""
    kind = random.Random(number).choice(
        ["good", "good", "good", "cancel", "long", "params", "id", "policy"]
    )
    which = number % len(expected)
    request = good_requests(engine)[which]
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


def resident_memory() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


@pytest.mark.model
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's /proc")
@pytest.mark.parametrize("half", [40, pytest.param(100, marks=pytest.mark.acceptance)])
def test_many_requests_from_sixteen_threads(embedded_engine, half):
    expected = embedded_engine.generate(good_requests(embedded_engine))
    memory, kinds = [], set()
    for part in range(2):
        numbers = range(half * part, half * (part + 1))
        with ThreadPoolExecutor(16) as callers:
            kinds |= set(
                callers.map(lambda number: run(embedded_engine, expected, number), numbers)
            )
        for _ in range(3):  # until the engine has put away what was cancelled last
            run_on_worker(gc.collect)
        run_on_worker(give_back_memory)
        memory.append(resident_memory())
    assert kinds == set(KINDS)
    assert memory[1] < 1.03 * memory[0]
