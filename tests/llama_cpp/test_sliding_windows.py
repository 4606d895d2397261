"""A model some of whose layers see the last tokens alone: rows are cut and shared as others are."""

from __future__ import annotations

import pytest
import torch

from amulet_integrations import SamplingParams
from amulet_integrations.engine import GenerationRequest, run_on_worker
from tests.contract.subjects import (
    BackendSubject,
    llama_cpp_backend,
    request_of,
    tokens,
)
from tests.contract.test_backend import RandomRows
from tests.llama_cpp.tiny_gguf import write_tiny_gguf
from tests.support.tiny import tiny_model

WINDOW = 16


@pytest.fixture(scope="module")
def sliding(tmp_path_factory) -> BackendSubject:
    model = tiny_model("gemma2", query_pre_attn_scalar=8, sliding_window=WINDOW)
    file = write_tiny_gguf(
        tmp_path_factory.mktemp("gguf") / "gemma.gguf", model, architecture="gemma2"
    )

    def logits_after(ids):
        with torch.no_grad():
            return model(torch.tensor([[*ids]])).logits[0, -1]

    return BackendSubject(lambda failing: llama_cpp_backend(failing, file=file), logits_after)


@pytest.mark.parametrize("seed", range(8))
def test_rows_hold_what_was_appended_copied_cut_and_loaded(sliding, seed):
    rows = RandomRows(sliding, seed, tolerance=0.02)  # llama.cpp looks GELU up in 16 bits
    others = [rows.add, rows.keep, rows.copy, rows.truncate, rows.save, rows.load, rows.merge]
    with torch.inference_mode():
        rows.add()
        for _ in range(30):
            rows.random.choice(others)()
            rows.append()
    assert max(rows.cache.lengths) > 2 * WINDOW
    rows.cache.close()


def test_no_more_prefixes_are_kept_than_there_are_sequences(sliding):
    requests = [request_of([20], [1.0], seed=n, max_new_tokens=2) for n in range(12)]
    with sliding.engine(max_rows=121) as engine:  # half of the sequences are twins
        for request in [*requests, *requests]:
            assert engine.generate([request])[0].token_ids == sliding.greedy(request)
        run_on_worker(int)
        assert 0 < engine.stats.prefix_tokens <= 6 * 22


def test_prefixes_far_longer_than_the_window_change_no_token(sliding):
    shared = tokens(1, 90)
    request = GenerationRequest(
        contexts=[shared, [*shared[:50], *tokens(2, 40)]],
        weights=[-1.0, 2.0],
        sampling=SamplingParams(max_new_tokens=10),
    )
    company = [request_of((70, 45), [-1.0, 2.0], seed=seed) for seed in range(3)]
    with sliding.engine() as engine:
        for _ in range(2):
            results = engine.generate([request, *company])
            expected = [sliding.greedy(each) for each in (request, *company)]
            assert [result.token_ids for result in results] == expected
