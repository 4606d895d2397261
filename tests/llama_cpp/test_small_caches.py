"""Fewer cells than requests want, and batches that llama.cpp cannot compute."""

from __future__ import annotations

import pytest
import torch

from amulet_integrations.engine import LocalEngine, run_on_worker
from amulet_integrations.engine.backends.base import RowInput
from amulet_integrations.engine.backends.llama_cpp.llama_context import DecodeError
from amulet_integrations.engine.backends.llama_cpp.llama_library import library
from amulet_integrations.errors import ContextLengthError, InvalidParamsError, InvalidRequestError
from tests.contract.subjects import llama_cpp_subject, request_of, tiny_gguf, tokens
from tests.llama_cpp.engines import EXACT, backend_of, engine_of


@pytest.fixture(scope="module")
def tiny():
    return llama_cpp_subject()


@pytest.mark.parametrize(
    "limits",
    [
        {"max_cache_tokens": 384, "max_rows": 6},
        {"max_cache_tokens": 384, "max_rows": 6, "max_prefix_tokens": 0},
        {"max_prefill_tokens": 4, "max_rows": 4},
        {"max_rows": 250},
    ],
)
def test_all_are_served_in_turn(tiny, limits):
    requests = [
        request_of((3 + 17 * n % 90, 5 + 29 * n % 110), [-1.0, 2.0], seed=n) for n in range(10)
    ]
    with tiny.engine(**limits) as engine:
        for _ in range(2):  # again, with what was kept
            results = engine.generate(requests)
            assert [result.token_ids for result in results] == list(map(tiny.greedy, requests))


def test_prefixes_that_are_kept_take_no_cells(tiny):
    backend = backend_of(tiny_gguf(), **EXACT)
    cache = backend.new_cache(3, 256)
    cache.add(1)
    ids = tokens(1, 200)
    with torch.inference_mode():
        backend.forward(cache, [RowInput(0, ids)])
        saved = [cache.save(0, 200) for _ in range(5)]
        cache.keep([])
        cache.add(2)
        backend.forward(cache, [RowInput(0, tokens(2, cache.context.cells - 40))])
        cache.load(1, saved[0], 30)  # 200 are needed for a moment
        assert list(cache.lengths) == [cache.context.cells - 40, 0]
        cache.truncate(0, 5)
        cache.load(1, saved[1], 30)
        assert list(cache.lengths) == [5, 30]
        cache.add(1)
        cache.load(2, saved[2], 3)  # to copy 200 tokens takes longer than to compute 3
        assert list(cache.lengths) == [5, 30, 0]
        logits = backend.forward(cache, [RowInput(1, [7])])
    right = tiny.logits_after([*ids[:30], 7])
    torch.testing.assert_close(logits[0, -1], right, atol=1e-3, rtol=1e-3)
    cache.close()
    backend.release()


def test_prefixes_that_cannot_be_copied_are_not_kept(tiny, monkeypatch):
    requests = [request_of((20, 30), [-1.0, 2.0], seed=n, max_new_tokens=4) for n in range(3)]
    with tiny.engine() as engine:
        monkeypatch.setattr(library(), "llama_state_seq_get_data", lambda *_: 0)
        for _ in range(2):
            for request, result in zip(requests, engine.generate(requests), strict=True):
                assert result.token_ids == tiny.greedy(request)
                assert result.usage.cached_tokens == (0, 0)
        run_on_worker(int)
        assert engine.stats.prefix_tokens == 0


def test_rows_that_begin_alike_share_cells(tiny):
    backend = backend_of(tiny_gguf(), **EXACT)
    cache = backend.new_cache(3, 256)
    cache.add(3)
    ids = tokens(1, 100)
    with torch.inference_mode():
        backend.forward(cache, [RowInput(0, ids)])
        cache.load(1, cache.save(0, 100), 100)
        with pytest.raises(MemoryError):  # one after the other takes 200 cells
            backend.forward(cache, [RowInput(2, tokens(2, 120))])
        cache.merge(0, 1, 90)
        cache.truncate(0, 10)  # what both hold stays
        inputs = [RowInput(0, [9]), RowInput(1, [7]), RowInput(2, tokens(2, 120))]
        logits = backend.forward(cache, inputs)
    for row, held in enumerate(([*ids[:10], 9], [*ids, 7], tokens(2, 120))):
        right = tiny.logits_after(held)
        torch.testing.assert_close(logits[row, -1], right, atol=1e-3, rtol=1e-3)
    cache.close()
    backend.release()


def test_what_can_never_fit_is_refused_with_the_numbers(tiny):
    with tiny.engine(max_cache_tokens=256, max_rows=4) as engine:
        with pytest.raises(ContextLengthError, match="max_cache_tokens=256"):
            engine.stream(request_of([200, 200], [-1.0, 2.0]))
        with pytest.raises(InvalidRequestError, match="max_rows=4"):
            engine.stream(request_of([5] * 5, [0.2] * 5))
    with pytest.raises(InvalidParamsError, match="max_rows=257 is more than the 256 rows"):
        tiny.engine(max_rows=257)
    with pytest.raises(InvalidParamsError, match=r"GB of memory are free\. Lower max_cache_tokens"):
        tiny.engine(max_cache_tokens=2**31 - 1)


def test_the_window_is_the_models_or_shorter(tiny):
    for n_ctx, window in ((0, 640), (100, 100)):
        with engine_of(tiny_gguf(), n_ctx=n_ctx, **EXACT) as engine:
            assert engine.context_window == window
            with pytest.raises(ContextLengthError, match=f"window of {window} tokens"):
                engine.stream(request_of([window], [1.0]))
            last = request_of([window - 3], [1.0])
            (result,) = engine.generate([last])
            assert result.token_ids == tiny.greedy(last)[:3]
    with pytest.raises(InvalidParamsError, match="n_ctx=641 is past the 640 tokens"):
        engine_of(tiny_gguf(), n_ctx=641)
    scaled = engine_of(tiny_gguf(), n_ctx=1280, rope_scaling_type="linear", rope_freq_scale=0.5)
    assert scaled.context_window == 1280
    scaled.close()


def test_a_full_cache_leaves_the_rows_as_they_were(tiny):
    backend = backend_of(tiny_gguf(), **EXACT)
    cache = backend.new_cache(3, 256)
    cache.add(3)
    room = cache.context.cells
    first, second = tokens(1, room - 60), tokens(2, 50)
    backend.forward(cache, [RowInput(0, first), RowInput(1, second)])
    with pytest.raises(MemoryError, match="no room for 20 more tokens") as raised:
        backend.forward(cache, [RowInput(1, tokens(3, 10)), RowInput(2, tokens(4, 10))])
    assert backend.is_out_of_memory(raised.value)
    assert list(cache.lengths) == [len(first), 50, 0]
    logits = backend.forward(cache, [RowInput(1, [7])])
    torch.testing.assert_close(logits[0, -1], tiny.logits_after([*second, 7]), atol=1e-3, rtol=1e-3)
    cache.truncate(0, 5)
    backend.forward(cache, [RowInput(2, tokens(4, 100))])
    cache.close()
    backend.release()


def test_a_batch_that_fails_half_way_is_taken_back_whole(tiny, monkeypatch):
    backend = backend_of(tiny_gguf(), n_batch=32, n_ubatch=32, **EXACT)
    cache = backend.new_cache(2, 512)
    cache.add(2)
    backend.forward(cache, [RowInput(0, tokens(1, 9))])
    library, calls = cache.context._llama, []
    decode = library.llama_decode

    def fails_at_the_second(*args):
        calls.append(args)
        return decode(*args) if len(calls) < 2 else -3

    monkeypatch.setattr(library, "llama_decode", fails_at_the_second)
    with pytest.raises(DecodeError, match="returned -3"):
        backend.forward(cache, [RowInput(0, tokens(2, 40)), RowInput(1, tokens(3, 8))])
    monkeypatch.undo()
    assert len(calls) == 2
    assert list(cache.lengths) == [9, 0]
    logits = backend.forward(cache, [RowInput(0, [7]), RowInput(1, tokens(3, 8))])
    for row, ids in enumerate(([*tokens(1, 9), 7], tokens(3, 8))):
        torch.testing.assert_close(logits[row, -1], tiny.logits_after(ids), atol=1e-3, rtol=1e-3)
    cache.close()
    backend.release()


def test_scores_take_no_cells_of_requests(tiny):
    with tiny.engine(max_cache_tokens=256, max_prefix_tokens=0) as engine:
        running = engine.stream(request_of([100], [1.0], max_new_tokens=150))
        begun = next(running).token_ids
        for seed in range(3):  # the context of the first is used again
            completion = tokens(seed, 100)
            (scores,) = engine.score([[9, 14]], completion).tolist()
            assert scores[0] == pytest.approx(
                float(tiny.log_probs([[9, 14]], [1.0], [])[completion[0]]), abs=1e-3
            )
        rest = [token for increment in running for token in increment.token_ids]
        assert [*begun, *rest] == tiny.greedy(request_of([100], [1.0], max_new_tokens=150))


def test_an_engine_that_is_dropped_frees_its_model(tiny):
    engine = LocalEngine(backend_of(tiny_gguf(), **EXACT))
    model = engine.backend._model
    engine.close()
    assert not model._free.alive
