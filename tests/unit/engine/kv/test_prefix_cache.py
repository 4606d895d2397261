"""Prefixes are not computed again, and that changes no token."""

from __future__ import annotations

import random

import pytest
import torch

from amulet_integrations import SamplingParams
from amulet_integrations.engine import GenerationRequest, LocalEngine, run_on_worker
from tests.support.oracle import slow_greedy
from tests.support.table_backend import TableBackend, TableCache
from tests.support.tiny import VOCABULARY, tiny_model, tiny_tokenizer

WEIGHTS = [-1.0, 2.0]


def text(seed, length):
    generator = random.Random(seed)
    return [generator.randrange(2, VOCABULARY) for _ in range(length)]


def make_request(base, pref, tokens=8):
    return GenerationRequest(
        contexts=[base, pref], weights=WEIGHTS, sampling=SamplingParams(max_new_tokens=tokens)
    )


def cached(result):
    return result.usage.cached_tokens


@pytest.fixture
def model():
    return tiny_model()


def test_a_conversation_computes_only_what_is_new(model):
    base, pref = text(1, 60), [*text(1, 30), *text(2, 40)]
    with LocalEngine(model, tiny_tokenizer()) as engine:
        for turn in range(4):
            (result,) = engine.generate([make_request(base, pref)])
            assert result.token_ids == slow_greedy(model, [base, pref], WEIGHTS, 8)
            if turn == 0:
                assert cached(result) == (0, 30)  # the two contexts begin alike
            else:
                # All of the turn before, but for the last token, which was never read.
                assert cached(result) == tuple(length - 13 for length in map(len, (base, pref)))
            more = [*result.token_ids, *text(turn + 10, 12)]
            base, pref = base + more, pref + more


def test_users_share_what_their_prompts_begin_with(model):
    system = text(0, 50)
    requests = [
        make_request([*system, *text(user, 9)], [*system, *text(user + 50, 20)])
        for user in range(6)
    ]
    with LocalEngine(model, tiny_tokenizer()) as engine:
        results = engine.generate(requests)
    assert [cached(result) for result in results] == [(0, 50), *[(50, 50)] * 5]
    for request, result in zip(requests, results, strict=True):
        assert result.token_ids == slow_greedy(model, request.contexts, WEIGHTS, 8)


def test_salts_share_an_engine_as_if_each_had_its_own(model):
    generator = random.Random(5)
    alone = {salt: LocalEngine(model, tiny_tokenizer()) for salt in (None, "ann", "bob")}
    with LocalEngine(model, tiny_tokenizer()) as engine:
        for _ in range(24):
            salt = generator.choice([*alone])
            base, pref = (text(generator.randrange(3), generator.randrange(5, 60)) for _ in "bp")
            request = make_request(base, pref, tokens=2)
            (expected,) = alone[salt].generate([request])
            (result,) = engine.generate([request.model_copy(update={"cache_salt": salt})])
            assert cached(result) == cached(expected)
            assert result.token_ids == expected.token_ids
        run_on_worker(int)  # the step that ends the last request
        assert engine.stats.prefix_tokens == sum(it.stats.prefix_tokens for it in alone.values())
    for own in alone.values():
        own.close()


def test_salts_share_the_room_that_there_is(model):
    request = make_request(text(1, 40), text(2, 40))
    with LocalEngine(model, tiny_tokenizer(), max_prefix_tokens=4 * 47) as engine:
        for salt in ("ann", "bob", "cleo", "ann"):
            salted = request.model_copy(update={"cache_salt": salt})
            assert cached(engine.generate([salted])[0]) == (0, 0)
            run_on_worker(int)
            assert engine.stats.prefix_tokens <= 4 * 47


def test_reuse_can_be_switched_off(model):
    request = make_request(text(1, 40), text(2, 40))
    with LocalEngine(model, tiny_tokenizer(), max_prefix_tokens=0) as engine:
        results = [engine.generate([request])[0] for _ in range(2)]
    assert [cached(result) for result in results] == [(0, 0), (0, 0)]


def test_the_least_recently_used_prefix_is_dropped_first(model):
    first, second, third = (make_request(text(n, 40), text(n + 50, 40)) for n in range(3))
    # Room for two of the three: 47 tokens of each context, of which the last was not read.
    with LocalEngine(model, tiny_tokenizer(), max_prefix_tokens=4 * 47) as engine:
        for request in (first, second, first, third):
            engine.generate([request])
        assert cached(engine.generate([first])[0]) == (39, 39)
        assert cached(engine.generate([second])[0]) == (0, 0)


def test_prefixes_are_dropped_for_requests_that_need_memory(model):
    small, large = make_request(text(1, 40), text(2, 40)), make_request(text(3, 200), text(4, 200))
    with LocalEngine(
        model, tiny_tokenizer(), max_cache_tokens=560, max_prefix_tokens=400
    ) as engine:
        engine.generate([small])
        assert cached(engine.generate([small])[0]) == (39, 39)
        assert engine.generate([large])[0].finish_reason == "length"
        assert cached(engine.generate([small])[0]) == (0, 0)


def test_the_prefix_of_a_cancelled_request_is_kept(model):
    request = make_request(text(1, 100), text(2, 100), tokens=200)
    with LocalEngine(model, tiny_tokenizer(), max_prefill_tokens=40) as engine:
        with engine.stream(request) as stream:
            next(stream)
        request = make_request(text(1, 100), text(2, 100))
        (result,) = engine.generate([request])
    assert cached(result) == (99, 99)
    assert result.token_ids == slow_greedy(model, request.contexts, WEIGHTS, 8)


def test_the_same_text_is_kept_once(model):
    request = make_request(text(1, 40), text(1, 40))
    with LocalEngine(model, tiny_tokenizer()) as engine:
        for _ in range(3):
            engine.generate([request])
        assert engine.stats.prefix_tokens == 47


def test_prefixes_of_former_weights_can_be_forgotten(model):
    request = make_request(text(1, 40), text(2, 40))
    with LocalEngine(model, tiny_tokenizer()) as engine:
        engine.generate([request])
        assert cached(engine.generate([request])[0]) == (39, 39)
        with torch.no_grad():
            model.model.embed_tokens.weight.add_(0.5)
        engine.forget_prefixes()
        (result,) = engine.generate([request])
        assert cached(result) == (0, 0)
        assert result.token_ids == slow_greedy(model, [*request.contexts], WEIGHTS, 8)


def test_what_is_loaded_beside_an_equal_beginning_is_told_to_share_it(monkeypatch):
    shared, merged = text(0, 40), []
    monkeypatch.setattr(TableCache, "merge", lambda *call: merged.append(call[1:]))
    requests = [
        GenerationRequest(
            contexts=[[*shared, *text(seed, 9)]], sampling=SamplingParams(max_new_tokens=2)
        )
        for seed in range(2)
    ]
    with LocalEngine(TableBackend(tiny_tokenizer())) as engine:
        engine.generate(requests)
        assert not merged
        results = engine.generate(requests)
        assert [cached(result) for result in results] == [(48,), (48,)]
        assert merged == [(0, 1, 40)]


def test_what_cannot_be_loaded_is_copied_from_a_row(monkeypatch):
    shared = text(0, 40)
    monkeypatch.setattr(TableCache, "load", lambda *_: None)  # there is no room
    sampling = SamplingParams(max_new_tokens=200, temperature=0.0)
    former, running, last = (
        GenerationRequest(contexts=[[*shared[:length], *text(length, 9)]], sampling=sampling)
        for length in (39, 30, 40)
    )
    with LocalEngine(TableBackend(tiny_tokenizer())) as engine:
        engine.generate([former])
        stream = engine.stream(running)
        next(stream)
        assert cached(engine.generate([last])[0]) == (30,)


def test_of_prefixes_that_match_alike_the_shortest_is_loaded(monkeypatch):
    loaded, load = [], TableCache.load

    def recorded(cache, row, saved, length):
        loaded.append(len(saved))
        load(cache, row, saved, length)

    monkeypatch.setattr(TableCache, "load", recorded)
    system = text(0, 30)
    contexts = [[*system, *text(seed, length)] for seed, length in ((1, 90), (2, 20), (3, 60))]
    with LocalEngine(TableBackend(tiny_tokenizer())) as engine:
        for context in [*contexts, [*system, 5, 6]]:
            sampling = SamplingParams(max_new_tokens=1)
            engine.generate([GenerationRequest(contexts=[context], sampling=sampling)])
    assert loaded == [120, 50, 50]


def test_a_backend_may_bound_how_many_are_kept(monkeypatch):
    monkeypatch.setattr(TableCache, "max_saved", 2)
    first, second, third = (
        GenerationRequest(contexts=[text(seed, 40)], sampling=SamplingParams(max_new_tokens=2))
        for seed in range(3)
    )
    with LocalEngine(TableBackend(tiny_tokenizer())) as engine:
        for request in (first, second, first, third):  # the second was used least recently
            engine.generate([request])
        run_on_worker(int)
        assert engine.stats.prefix_tokens == 2 * 41
        assert cached(engine.generate([first])[0]) == (39,)
        assert cached(engine.generate([second])[0]) == (0,)
    monkeypatch.setattr(TableCache, "max_saved", 0)
    with LocalEngine(TableBackend(tiny_tokenizer())) as engine:
        for _ in range(2):
            assert cached(engine.generate([first])[0]) == (0,)
