"""Two hundred requests from sixteen threads, with cancels and errors; memory stays what it was."""

from __future__ import annotations

import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from amulet_integrations.engine import GenerationRequest, LocalEngine, run_on_worker
from amulet_integrations.errors import GenerationError, RequestTimeoutError
from tests.contract.subjects import BAD, llama_cpp_backend, llama_cpp_subject, request_of

REQUESTS = 200
THREADS = 16
MINUTES = float(os.environ.get("AMULET_SOAK_MINUTES", "0"))


@pytest.fixture(scope="module")
def tiny():
    return llama_cpp_subject()


@pytest.fixture(scope="module")
def good(tiny) -> list[GenerationRequest]:
    """Requests whose answers do not hold the token that fails; their tokens are known."""
    requests = [
        request_of((4 + 9 * seed, 6 + 11 * seed), [-1.0, 2.0], seed=seed, max_new_tokens=5 + seed)
        for seed in range(14)
    ]
    return [request for request in requests if BAD not in tiny.greedy(request)]


def user(engine: LocalEngine, tiny, good: list[GenerationRequest], number: int) -> str:
    """One request, as some user sends it; returns what became of it."""
    request = good[number % len(good)]
    kind = random.Random(number).choice(["answer", "answer", "answer", "cancel", "fail", "late"])
    if kind == "cancel":
        stream = engine.stream(request)
        next(stream)
        stream.close()
    elif kind == "fail":
        bad = GenerationRequest(contexts=[[5, 6], [8, BAD, 7]], weights=[-1.0, 2.0])
        with pytest.raises(GenerationError, match="no logits after token"):
            engine.generate([bad])
    elif kind == "late":
        late = request_of((9, 12), [-1.0, 2.0], max_new_tokens=500, timeout=0.02)
        with pytest.raises(RequestTimeoutError):
            engine.generate([late])
    else:
        assert engine.generate([request])[0].token_ids == tiny.greedy(request)
    return kind


def memory() -> int:
    """The resident bytes of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_everyone_gets_their_own_answer(tiny, good):
    engine = LocalEngine(llama_cpp_backend(failing=True), max_cache_tokens=2048, max_rows=16)
    with engine, ThreadPoolExecutor(THREADS) as threads:
        end = time.monotonic() + 60 * MINUTES
        rounds, sizes = 0, []
        while rounds < 3 or time.monotonic() < end:
            numbers = range(rounds * REQUESTS, (rounds + 1) * REQUESTS)
            kinds = list(threads.map(partial(user, engine, tiny, good), numbers))
            assert set(kinds) == {"answer", "cancel", "fail", "late"}
            run_on_worker(int)
            assert engine.stats.is_idle
            sizes.append(memory())
            rounds += 1
        cache = engine._loop._core._slots.cache
        assert cache.lengths == []
        engine.forget_prefixes()
        assert len(cache._free) == cache.context.n_seq_max
    assert sizes[-1] - sizes[0] < 40e6, f"{(sizes[-1] - sizes[0]) / 1e6:.0f} MB more"


def test_engines_come_and_go_without_a_trace(tiny):
    request = request_of((30, 40), [-1.0, 2.0])
    sizes = []
    for _ in range(12):
        with tiny.engine() as engine:
            assert engine.generate([request])[0].token_ids == tiny.greedy(request)
            engine.score(request.contexts, [5, 6, 7])
        sizes.append(memory())
    assert sizes[-1] - sizes[3] < 40e6, f"{(sizes[-1] - sizes[3]) / 1e6:.0f} MB more"
