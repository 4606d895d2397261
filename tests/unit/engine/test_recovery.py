"""After anything that fails, at any moment, the others go on with the right tokens."""

from __future__ import annotations

import random
from functools import wraps

import pytest
import torch

from amulet_integrations import SamplingParams
from amulet_integrations.engine import GenerationRequest, LocalEngine
from amulet_integrations.engine.backends.base import RowInput
from amulet_integrations.engine.backends.transformers import row_cache as cache_module
from amulet_integrations.engine.backends.transformers.row_cache import RowCache
from amulet_integrations.engine.kv.slots import SlotManager
from amulet_integrations.engine.sampling import token_choice
from amulet_integrations.errors import EngineOverloadedError, GenerationError
from tests.support.oracle import slow_greedy
from tests.support.tiny import VOCABULARY, tiny_model, tiny_tokenizer

MARK = 3
SHORT_OF_MEMORY = torch.OutOfMemoryError("CUDA out of memory.")


def make_request(seed, length=9, tokens=12, marked=False):
    generator = random.Random(seed)
    ids = [generator.randrange(4, VOCABULARY) for _ in range(length)]
    sampling = SamplingParams(max_new_tokens=tokens, min_new_tokens=tokens)
    return GenerationRequest(contexts=[[MARK, *ids] if marked else ids], sampling=sampling)


class Fails:
    """Raises at some of its calls, and otherwise does what it stands for."""

    def __init__(self, function, at, error=SHORT_OF_MEMORY):
        self._function, self._at, self._error, self.calls = function, set(at), error, 0

    def __call__(self, *args, **options):
        self.calls += 1
        if self.calls - 1 in self._at:
            raise self._error
        return self._function(*args, **options)


def bound(fails):
    def method(*args, **options):  # a function, so that it is given its object
        return fails(*args, **options)

    return method


@pytest.fixture
def expected():
    with LocalEngine(tiny_model(), tiny_tokenizer()) as engine:
        return [engine.generate([make_request(seed)])[0] for seed in range(4)]


@pytest.mark.parametrize("architecture", ["bloom", "llama"])
def test_a_prompt_that_the_model_fails_at_harms_no_other_request(architecture):
    sizes = {"n_layer": 2, "n_head": 4} if architecture == "bloom" else {}
    model = tiny_model(architecture, **sizes)
    forward = model.forward

    @wraps(forward)
    def cannot_read_the_mark(*args, input_ids, **options):
        if (input_ids == MARK).any():
            raise ValueError("what is this?")
        return forward(*args, input_ids=input_ids, **options)

    good = [make_request(1, length=5), make_request(2, length=11)]
    with LocalEngine(model, tiny_tokenizer()) as engine:
        alone = [engine.generate([each])[0] for each in good]
    model.forward = cannot_read_the_mark
    with LocalEngine(model, tiny_tokenizer()) as engine:
        outcomes = engine.generate(
            [good[0], make_request(3, marked=True), good[1]], return_exceptions=True
        )
    assert [outcomes[0], outcomes[2]] == alone
    assert "what is this?" in str(outcomes[1])


def test_a_token_that_the_model_cannot_go_on_from_fails_one_request(expected):
    model = tiny_model()
    forward = model.forward
    bad = expected[1].token_ids[4]
    assert bad not in expected[0].token_ids + expected[2].token_ids

    @wraps(forward)
    def cannot_go_on(*args, input_ids, **options):
        if (input_ids[:, -1] == bad).any():
            raise ValueError("no further")
        return forward(*args, input_ids=input_ids, **options)

    model.forward = cannot_go_on
    with LocalEngine(model, tiny_tokenizer()) as engine:
        outcomes = engine.generate(
            [make_request(seed) for seed in range(3)], return_exceptions=True
        )
    assert [outcomes[0], outcomes[2]] == [expected[0], expected[2]]
    assert "no further" in str(outcomes[1])


@pytest.mark.parametrize("call", range(6))
def test_no_wrong_token_where_memory_runs_out_while_tokens_are_sampled(expected, monkeypatch, call):
    with LocalEngine(tiny_model(), tiny_tokenizer()) as engine:
        engine.generate([make_request(9)])  # something to forget, so that nobody would have to fail
        fails = Fails(token_choice.mix_bounded_contexts, [call])
        monkeypatch.setattr(token_choice, "mix_bounded_contexts", fails)
        outcomes = engine.generate(
            [make_request(seed) for seed in range(2)], return_exceptions=True
        )
        for outcome, right in zip(outcomes, expected, strict=False):
            assert isinstance(outcome, GenerationError) or outcome == right
        assert [engine.generate([make_request(seed)])[0] for seed in range(4)] == expected


def test_weights_that_could_not_be_allocated_are_made_again(expected, monkeypatch):
    with LocalEngine(tiny_model(), tiny_tokenizer()) as engine:
        monkeypatch.setattr(token_choice, "mixing_matrix", Fails(token_choice.mixing_matrix, [0]))
        engine.generate([make_request(0), make_request(1)], return_exceptions=True)
        assert engine.generate([make_request(seed) for seed in range(4)]) == expected


@pytest.mark.parametrize("call", range(5))
def test_memory_that_runs_out_as_the_cache_grows_costs_the_newest_at_most(
    expected, monkeypatch, call
):
    with LocalEngine(tiny_model(), tiny_tokenizer()) as engine:
        resized = Fails(cache_module._resized, [call])
        monkeypatch.setattr(cache_module, "_resized", bound(resized))
        stream = engine.stream(make_request(0))
        first = next(stream)
        outcomes = engine.generate(
            [make_request(seed) for seed in (1, 2, 3)], return_exceptions=True
        )
        tokens = [*first.token_ids, *(token for step in stream for token in step.token_ids)]
    assert tokens == expected[0].token_ids
    assert outcomes[:2] == expected[1:3]
    assert isinstance(outcomes[2], GenerationError) or outcomes[2] == expected[3]


@pytest.mark.parametrize("what", ["allocate", "save", "_shrink"])
def test_memory_that_runs_out_beside_the_passes_harms_no_running_stream(
    expected, monkeypatch, what
):
    owner = SlotManager if what == "allocate" else RowCache
    with LocalEngine(tiny_model(), tiny_tokenizer()) as engine:
        stream = engine.stream(make_request(0))
        first = next(stream)
        fails = Fails(getattr(owner, what), [1])
        monkeypatch.setattr(owner, what, bound(fails))
        engine.generate([make_request(1, tokens=2)], return_exceptions=True)
        engine.generate([make_request(2, tokens=3)], return_exceptions=True)
        tokens = [*first.token_ids, *(token for step in stream for token in step.token_ids)]
        assert fails.calls > 1
    assert tokens == expected[0].token_ids


def test_a_failed_row_leaves_nothing_to_the_next_one(expected):
    model = tiny_model()
    layer = model.model.layers[0].self_attn.v_proj
    model.model.embed_tokens.weight.data[MARK] = 0.0
    forward = layer.forward

    def not_a_number(states):
        values = forward(states)
        spoilt = states.abs().sum(-1, keepdim=True) == 0
        return values.masked_fill(spoilt, torch.nan)

    layer.forward = not_a_number
    with LocalEngine(model, tiny_tokenizer()) as engine:
        long = make_request(5, length=30, tokens=40, marked=True)
        outcomes = engine.generate([long, make_request(0), make_request(1)], return_exceptions=True)
        assert isinstance(outcomes[0], GenerationError)
        assert outcomes[1:] == expected[:2]
        assert engine.generate([make_request(0), make_request(1)]) == expected[:2]


def test_the_queue_is_bounded_where_requests_wait_for_memory():
    with LocalEngine(tiny_model(), tiny_tokenizer(), max_cache_tokens=500, max_waiting=2) as engine:
        large = make_request(0, length=50, tokens=330)
        running = engine.stream(large)
        next(running)
        streams = [engine.stream(large) for _ in range(2)]
        with pytest.raises(EngineOverloadedError):
            engine.stream(large)
        running.close()
        assert len(list(streams[0])) == len(list(streams[1])) == 330


def test_unused_rows_are_freed_when_longer_rows_are_needed():
    backend = LocalEngine(tiny_model(), tiny_tokenizer()).backend
    cache = backend.new_cache(8, 4096)
    cache.add(64)
    with torch.inference_mode():
        backend.forward(cache, [RowInput(row, [5, 6, 7]) for row in range(64)])
        cache.keep(range(33))
        cache.add(1)
        backend.forward(cache, [RowInput(33, [5] * 300)])
    assert cache.tokens <= 34 * cache_module.padded_capacity(300)


def test_without_prefixes_no_request_copies_another_ones_rows():
    request = make_request(1, length=100)
    with LocalEngine(tiny_model(), tiny_tokenizer(), max_prefix_tokens=0) as engine:
        stream = engine.stream(make_request(1, length=100, tokens=50))
        next(stream)
        (result,) = engine.generate([request])
        assert result.usage.cached_tokens == (0,)
        stream.close()
    assert result.token_ids == slow_greedy(tiny_model(), request.contexts, [1.0], 12, end_id=-1)


@pytest.mark.parametrize("prompt", [[7] * 6 + [MARK] * 30 + [9] * 30, [7] * 140 + [MARK] * 30])
def test_nan_in_a_prompt_reaches_no_later_request(prompt):
    model = tiny_model()
    model.model.embed_tokens.weight.data[MARK] = torch.nan
    model.lm_head.weight.data[MARK] = 0  # nobody writes it

    def request_of(contexts, tokens, **more):
        sampling = SamplingParams(max_new_tokens=tokens, min_new_tokens=tokens)
        return GenerationRequest(contexts=contexts, sampling=sampling, **more)

    options = {"prompt_lookup_num_tokens": 0, "max_prefill_tokens": 4, "max_prefix_tokens": 0}
    with LocalEngine(model, tiny_tokenizer(), **options) as engine:
        # It keeps the room wide; the second ends while the third is read, whose row moves then.
        first = engine.stream(request_of([[5, 6, 7], [8], [9]], 300, weights=[1.0, 1.0, -1.0]))
        for _ in range(30):
            next(first)
        second = engine.stream(request_of([[5, 6]], 38))
        third = engine.stream(request_of([prompt], 5))
        list(second)
        with pytest.raises(GenerationError, match="NaN"):
            list(third)
        later = [engine.stream(request_of([[5 + number, 7]], 20)) for number in range(3)]
        assert [len(list(stream)) for stream in later] == [20] * 3
        first.close()


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_allow_no_token_fail_one_request(temperature):
    model = tiny_model()

    def forbid_all(module, inputs, logits):
        rows = inputs[0].isnan().any(-1, keepdim=True)
        return logits.masked_fill(rows, -torch.inf)

    model.model.embed_tokens.weight.data[MARK] = torch.nan
    model.lm_head.weight.data[MARK] = 0  # nobody writes it
    model.lm_head.register_forward_hook(forbid_all)
    sampling = SamplingParams(max_new_tokens=12, temperature=temperature, seed=1)
    good = GenerationRequest(contexts=[[5, 6, 7]], sampling=sampling)
    bad = GenerationRequest(contexts=[[5, MARK]], sampling=sampling)
    with LocalEngine(model, tiny_tokenizer(), prompt_lookup_num_tokens=0) as engine:
        expected = engine.generate([good])[0].token_ids
        outcomes = engine.generate([good, bad, good], return_exceptions=True)
        assert isinstance(outcomes[1], GenerationError)
        assert [outcomes[0].token_ids, outcomes[2].token_ids] == [expected] * 2
        assert engine.generate([good])[0].token_ids == expected
