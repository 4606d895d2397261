"""Groups under asynchronous scheduling and model runner V2's processors, without a GPU."""

from __future__ import annotations

import random

import pytest

from amulet_integrations.engine import run_on_worker
from amulet_integrations.errors import GenerationError
from tests.contract.subjects import BACKENDS, request_of, token_ids

from .simulated_runner import simulated_engine

WEIGHTS = [[1.0], [-1.0, 2.0], [-0.5, 2.0, -0.5]]


def random_requests(seed: int):
    chance = random.Random(seed)
    for number in range(14):
        weights = chance.choice(WEIGHTS)
        lengths = [chance.choice([1, 2, 5, 33, 64, 65, 150]) for _ in weights]
        yield request_of(
            lengths, weights, seed=100 * seed + number, max_new_tokens=chance.choice([1, 2, 9, 20])
        )


@pytest.fixture(scope="module")
def table():
    return BACKENDS["table"]()


@pytest.mark.parametrize("seed", range(6))
def test_every_request_gets_its_own_tokens(table, seed):
    chance = random.Random(seed)
    rows = chance.choice([4, 6, 12])
    requests = list(random_requests(seed))
    limits = {"max_rows": rows, "max_prefill_tokens": rows + chance.choice([0, 5, 60])}
    with simulated_engine(seed, blocks=chance.choice([25, 60]), **limits) as engine:
        results = engine.generate(requests)
        assert [it.token_ids for it in results] == list(map(table.greedy, requests))
        gone = [engine.stream(request) for request in random_requests(seed + 50)]
        streams = [engine.stream(request) for request in requests]
        for stream in chance.sample(gone, len(gone) // 2):
            next(stream, None)
        for stream in gone:
            stream.close()
        assert list(map(token_ids, streams)) == list(map(table.greedy, requests))
        run_on_worker(int)
        scheduler = engine._loop._core._lockstep
        assert engine.stats.is_idle
        assert not scheduler.requests
        assert scheduler.kv_cache_manager.block_pool.get_num_free_blocks() == (
            scheduler.kv_cache_config.num_blocks - 1
        )


def test_preemption_with_a_step_on_its_way_writes_no_wrong_token(table):
    requests = list(random_requests(9))
    with simulated_engine(9, max_rows=12) as engine:
        streams = [engine.stream(request) for request in requests]
        begun = [next(stream).token_ids for stream in streams[:2]]
        preempt = engine._loop._core._lockstep.reset_prefix_cache
        run_on_worker(lambda: preempt(reset_running_requests=True))
        for stream, request, first in zip(streams, requests, [*begun, *[()] * 12], strict=True):
            written = list(first)
            try:
                written += token_ids(stream)
            except GenerationError as error:
                assert "different tokens" in str(error)  # noqa: PT017 - it may go well
            assert table.greedy(request)[: len(written)] == written
        assert token_ids(engine.stream(requests[0])) == table.greedy(requests[0])
