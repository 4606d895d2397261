"""More requests than vLLM's cache and its steps have room for."""

from __future__ import annotations

import pytest

from tests.contract.subjects import request_of


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
