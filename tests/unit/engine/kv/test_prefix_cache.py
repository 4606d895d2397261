"""What was read before is not read again, and that changes no token."""

from __future__ import annotations

import random

import pytest
import torch

from amulet_integrations import SamplingParams
from amulet_integrations.engine import GenerationRequest, LocalEngine
from tests.support.oracle import slow_greedy
from tests.support.tiny import VOCABULARY, tiny_model, tiny_tokenizer

WEIGHTS = [-1.0, 2.0]


def text(seed, length):
    generator = random.Random(seed)
    return [generator.randrange(2, VOCABULARY) for _ in range(length)]


def request(base, pref, tokens=8):
    return GenerationRequest(
        contexts=[base, pref], weights=WEIGHTS, sampling=SamplingParams(max_new_tokens=tokens)
    )


def cached(result):
    return result.usage.cached_tokens


@pytest.fixture
def model():
    return tiny_model()


def test_a_conversation_reads_only_what_is_new(model):
    base, pref = text(1, 60), [*text(1, 30), *text(2, 40)]
    with LocalEngine(model, tiny_tokenizer()) as engine:
        for turn in range(4):
            (result,) = engine.generate([request(base, pref)])
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
        request([*system, *text(user, 9)], [*system, *text(user + 50, 20)]) for user in range(6)
    ]
    with LocalEngine(model, tiny_tokenizer()) as engine:
        results = engine.generate(requests)
    assert [cached(result) for result in results] == [(0, 50), *[(50, 50)] * 5]
    for asked, result in zip(requests, results, strict=True):
        assert result.token_ids == slow_greedy(model, asked.contexts, WEIGHTS, 8)


def test_reuse_can_be_switched_off(model):
    asked = request(text(1, 40), text(2, 40))
    with LocalEngine(model, tiny_tokenizer(), max_prefix_tokens=0) as engine:
        results = [engine.generate([asked])[0] for _ in range(2)]
    assert [cached(result) for result in results] == [(0, 0), (0, 0)]


def test_what_was_used_least_recently_goes_first(model):
    first, second, third = (request(text(n, 40), text(n + 50, 40)) for n in range(3))
    # Room for two of the three: 47 tokens of each context, of which the last was not read.
    with LocalEngine(model, tiny_tokenizer(), max_prefix_tokens=4 * 47) as engine:
        for asked in (first, second, first, third):
            engine.generate([asked])
        assert cached(engine.generate([first])[0]) == (39, 39)
        assert cached(engine.generate([second])[0]) == (0, 0)


def test_what_is_kept_makes_room_for_who_comes(model):
    small, large = request(text(1, 40), text(2, 40)), request(text(3, 200), text(4, 200))
    with LocalEngine(
        model, tiny_tokenizer(), max_cache_tokens=560, max_prefix_tokens=400
    ) as engine:
        engine.generate([small])
        assert cached(engine.generate([small])[0]) == (39, 39)
        assert engine.generate([large])[0].finish_reason == "length"
        assert cached(engine.generate([small])[0]) == (0, 0)


def test_a_cancelled_request_leaves_what_it_has_read(model):
    asked = request(text(1, 100), text(2, 100), tokens=200)
    with LocalEngine(model, tiny_tokenizer(), max_prefill_tokens=40) as engine:
        with engine.stream(asked) as stream:
            next(stream)
        asked = request(text(1, 100), text(2, 100))
        (result,) = engine.generate([asked])
    assert cached(result) == (99, 99)
    assert result.token_ids == slow_greedy(model, asked.contexts, WEIGHTS, 8)


def test_the_same_text_is_kept_once(model):
    asked = request(text(1, 40), text(1, 40))
    with LocalEngine(model, tiny_tokenizer()) as engine:
        for _ in range(3):
            engine.generate([asked])
        assert engine.load.prefix_tokens == 47


def test_prefixes_read_with_former_weights_can_be_forgotten(model):
    asked = request(text(1, 40), text(2, 40))
    with LocalEngine(model, tiny_tokenizer()) as engine:
        engine.generate([asked])
        assert cached(engine.generate([asked])[0]) == (39, 39)
        with torch.no_grad():
            model.model.embed_tokens.weight.add_(0.5)
        engine.forget_prefixes()
        (result,) = engine.generate([asked])
        assert cached(result) == (0, 0)
        assert result.token_ids == slow_greedy(model, [*asked.contexts], WEIGHTS, 8)
