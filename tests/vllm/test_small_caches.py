"""More requests than vLLM's cache and its steps have room for."""

from __future__ import annotations

import pytest

from amulet_integrations.errors import InvalidRequestError
from tests.contract.subjects import request_of, token_ids


@pytest.mark.parametrize(
    "limits",
    [
        {"max_cache_tokens": 352, "max_rows": 6},
        {"max_cache_tokens": 352, "max_rows": 6, "max_prefix_tokens": 0},
        {"max_prefill_tokens": 4, "max_rows": 4},
    ],
)
def test_all_are_served_in_turn(tiny, limits):
    requests = [
        request_of((3 + 17 * n % 90, 5 + 29 * n % 110), [-1.0, 2.0], seed=n) for n in range(10)
    ]
    with tiny.engine(**limits) as engine:
        results = engine.generate(requests)
    assert [result.token_ids for result in results] == list(map(tiny.greedy, requests))


def test_more_contexts_than_are_decoded_at_once_are_not_scored(tiny):
    contexts, others = [[5], [6], [7]], request_of([9, 14], [-1.0, 2.0])
    with tiny.engine(max_rows=2) as engine:
        running = engine.stream(others)
        begun = next(running).token_ids
        with pytest.raises(InvalidRequestError, match=r"3 contexts.*max_rows=2"):
            engine.score(contexts, [8, 9])
        assert engine.score(contexts[:2], [8, 9]).shape == (2, 2)
        assert [*begun, *token_ids(running)] == tiny.greedy(others)
