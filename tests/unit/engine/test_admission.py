"""Which requests are admitted, wait or are refused, and how long streams are held up."""

from __future__ import annotations

import random
import threading
from itertools import count, pairwise
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from amulet_integrations import SamplingParams
from amulet_integrations.engine import GenerationRequest, LocalEngine, run_on_worker
from amulet_integrations.engine.kv.memory_use import is_out_of_memory
from amulet_integrations.errors import (
    ContextLengthError,
    EngineOverloadedError,
    GenerationError,
    InvalidParamsError,
    InvalidRequestError,
    UnknownArgumentError,
)
from tests.support.oracle import slow_greedy
from tests.support.table_backend import TableBackend
from tests.support.tiny import VOCABULARY, tiny_engine, tiny_model, tiny_tokenizer

MODEL = tiny_model()


def request(length=5, tokens=6, seed=0, contexts=2, least=0):
    generator = random.Random(seed)
    ids = [[generator.randrange(2, VOCABULARY) for _ in range(length)] for _ in range(contexts)]
    weights = [-1.0, 2.0] if contexts == 2 else [1.0]
    sampling = SamplingParams(max_new_tokens=tokens, min_new_tokens=least)
    return GenerationRequest(contexts=ids, weights=weights, sampling=sampling)


arrivals = st.lists(
    st.tuples(
        st.integers(0, 5),  # tokens of the first stream before this one arrives
        st.integers(1, 70),  # tokens of the prompt
        st.integers(1, 20),  # tokens of the answer
        st.sampled_from([1, 2]),  # contexts
    ),
    min_size=1,
    max_size=6,
)
engines = st.fixed_dictionaries(
    {
        "max_rows": st.sampled_from([2, 5, 64]),
        "max_prefill_tokens": st.sampled_from([1, 7, 64, 256]),
        "max_cache_tokens": st.sampled_from([400, 2000, 100_000]),
        "max_prefix_tokens": st.sampled_from([0, 100, 5000]),
        "prompt_lookup_num_tokens": st.sampled_from([0, 10]),
    }
)


@settings(max_examples=8, deadline=None)
@given(arrivals, engines)
def test_other_requests_change_no_token(schedule, limits):
    requests, streams, tokens = [], [], []
    with LocalEngine(MODEL, tiny_tokenizer(), **limits) as engine:
        for seed, (wait, length, count, contexts) in enumerate(schedule):
            for _, step in zip(range(wait), streams[0] if streams else (), strict=False):
                tokens[0] += step.token_ids
            # Every second one repeats an earlier prompt.
            requests.append(request(length, count, seed // 2, contexts))
            streams.append(engine.stream(requests[-1]))
            tokens.append([])
        for stream, ids in zip(streams, tokens, strict=True):
            ids.extend(token for step in stream for token in step.token_ids)
    for each, ids in zip(requests, tokens, strict=True):
        limit = each.sampling.max_new_tokens
        assert ids == slow_greedy(MODEL, each.contexts, each.weights or [1.0], limit)


PROMPT = 250  # the last token of each prompt


class Arrival(NamedTuple):
    """A request, and after how many passes of decoding it is sent."""

    after: int
    user_id: str | None
    contexts: int
    tokens: int


class SlowEngine:
    """Works the order out in which requests get their first tokens, one step at a time."""

    def __init__(self, arrivals, max_rows):
        self.arrivals, self.max_rows = arrivals, max_rows
        self.waiting, self.running, self.order = [], {}, []
        self.joined, self.turns = {}, count()  # when each user last came to the end of the line
        self.send(0)
        passes = 0
        while self.waiting or self.running:
            passes += bool(self.running)
            begun = bool(self.running)
            self.admit()
            if begun:
                self.send(passes)
            self.running = {index: left - 1 for index, left in self.running.items() if left > 1}

    def send(self, passes):
        for index, each in enumerate(self.arrivals):
            if each.after == passes:
                if all(self.arrivals[other].user_id != each.user_id for other in self.waiting):
                    self.joined[each.user_id] = next(self.turns)
                self.waiting.append(index)

    def admit(self):
        while self.waiting:
            turn = min(self.waiting, key=self.turn)
            if sum(self.rows()) + self.arrivals[turn].contexts > self.max_rows:
                break
            self.waiting.remove(turn)
            self.order.append(turn)
            self.running[turn] = self.arrivals[turn].tokens
            self.joined[self.arrivals[turn].user_id] = next(self.turns)

    def turn(self, index):
        user_id, after = self.arrivals[index].user_id, self.arrivals[index].after
        return sum(self.rows({user_id})), self.joined[user_id], after, index

    def rows(self, users=None):
        each = [self.arrivals[index] for index in self.running]
        return [it.contexts for it in each if users is None or it.user_id in users]


def order_of_first_tokens(arrivals, max_rows):
    """The order in which an engine begins to answer requests that are sent at these moments."""
    go, passes, streams = threading.Event(), count(1), []
    busy = threading.Thread(target=run_on_worker, args=(go.wait,))
    order = []
    backend = TableBackend(tiny_tokenizer())
    limits = {"max_rows": max_rows, "max_prefill_tokens": 1000, "prompt_lookup_num_tokens": 0}
    with LocalEngine(backend, max_prefix_tokens=0, **limits) as engine:

        def send(passed):
            for index, each in enumerate(arrivals):
                if each.after == passed:
                    streams.append(engine.stream(numbered(index, each)))

        decode, forward = backend.decode, backend.forward

        def decode_and_send(*args):
            send(next(passes))
            return decode(*args)

        def forward_and_note(cache, inputs, logits_to_keep=1):
            order.extend(each.ids[0] - 2 for each in inputs if each.ids[1:] == (PROMPT,))
            return forward(cache, inputs, logits_to_keep)

        backend.decode, backend.forward = decode_and_send, forward_and_note
        busy.start()
        try:
            send(0)
        finally:
            go.set()
            busy.join()
        for stream in streams:  # which grows meanwhile
            list(stream)
    return list(dict.fromkeys(order))


def numbered(index, arrival):
    """A request whose prompt begins with its number."""
    weights = [-1.0, 2.0] if arrival.contexts == 2 else [1.0]
    return GenerationRequest(
        contexts=[[2 + index, PROMPT], [2 + index + PROMPT, 2]][: arrival.contexts],
        weights=weights,
        sampling=SamplingParams(max_new_tokens=arrival.tokens, min_new_tokens=arrival.tokens),
        user_id=arrival.user_id,
    )


crowds = st.lists(
    st.builds(
        Arrival,
        after=st.integers(0, 6),
        user_id=st.sampled_from(["ann", "bob", "cyd", None]),
        contexts=st.sampled_from([1, 2]),
        tokens=st.integers(1, 6),
    ),
    min_size=1,
    max_size=20,
)


@settings(max_examples=40, deadline=None)
@given(crowds, st.sampled_from([2, 3, 5, 8]))
def test_users_take_turns(arrivals, max_rows):
    assert order_of_first_tokens(arrivals, max_rows) == SlowEngine(arrivals, max_rows).order


@pytest.mark.parametrize("max_rows", [2, 8, 64])
@pytest.mark.parametrize("greedy", ["ann", None])
def test_a_stranger_does_not_wait_for_all_requests_of_a_user(greedy, max_rows):
    crowd = [Arrival(0, greedy, 2, 4) for _ in range(80)]
    order = order_of_first_tokens(
        [*crowd, Arrival(0, "bob", 2, 4), Arrival(9, "cyd", 2, 4)], max_rows
    )
    together = max_rows // 2
    assert order.index(80) == 1
    assert order.index(81) <= 4 * together + 1  # of what began in the first nine steps, and one
    assert sorted(order) == list(range(82))


def test_no_stream_of_newcomers_keeps_a_user_waiting():
    # There is always a new user who has no rows; ann's second request comes all the same.
    ann = [Arrival(0, "ann", 2, 3) for _ in range(3)]
    newcomers = [Arrival(after, f"user {after}", 2, 3) for after in range(60)]
    order = order_of_first_tokens([*ann, *newcomers], 4)
    assert max(order.index(index) for index in range(3)) < 20


def test_no_small_requests_keep_a_large_one_waiting():
    small = [Arrival(after, user, 1, 5) for after in range(40) for user in ("ann", "bob")]
    order = order_of_first_tokens([*small[:4], Arrival(1, "cyd", 2, 3), *small[4:]], 2)
    assert order.index(4) < 10  # it has as many contexts as there are rows


def test_a_full_queue_refuses_one_more_and_loses_none():
    go = threading.Event()
    busy = threading.Thread(target=run_on_worker, args=(go.wait,))
    with LocalEngine(MODEL, tiny_tokenizer(), max_rows=2, max_waiting=3) as engine:
        busy.start()
        try:
            # There is room for one request of two contexts, and three may wait.
            streams = [engine.stream(request()) for _ in range(4)]
            with pytest.raises(EngineOverloadedError, match=r"max_waiting=3.*Try again later"):
                engine.stream(request())
            with pytest.raises(EngineOverloadedError):
                engine.generate([request()] * 9)
        finally:
            go.set()
            busy.join()
        answers = [[t for step in stream for t in step.token_ids] for stream in streams]
        assert len(answers) == 4
        assert all(answer == answers[0] for answer in answers)
        assert len(engine.generate([request()])[0].token_ids) == len(answers[0])


def test_a_request_larger_than_the_memory_is_refused():
    with LocalEngine(MODEL, tiny_tokenizer(), max_cache_tokens=500) as engine:
        with pytest.raises(ContextLengthError, match=r"2 contexts of up to 300 tokens.*=500"):
            engine.stream(request(length=200, tokens=100))
        assert engine.generate([request(least=6)])[0].finish_reason == "length"


def test_key_value_memory_stays_within_its_bound():
    widest = []
    with LocalEngine(
        MODEL, tiny_tokenizer(), max_cache_tokens=700, max_prefix_tokens=200
    ) as engine:
        forward = engine.backend.forward

        def watched(cache, inputs, logits_to_keep=1):
            logits = forward(cache, inputs, logits_to_keep)
            (layer, *_) = cache.layers
            kept = engine.stats.prefix_tokens
            widest.append(layer.keys.shape[0] * layer.keys.shape[1] + kept)
            return logits

        engine.backend.forward = watched
        requests = [request(length=20 + 7 * n, tokens=20, seed=n) for n in range(12)]
        results = engine.generate(requests)
    assert max(widest) <= 700
    for each, result in zip(requests, results, strict=True):
        assert result.token_ids == slow_greedy(MODEL, each.contexts, each.weights, 20)


def test_a_long_prompt_holds_a_stream_up_for_one_chunk_at_a_time():
    passes = []
    with LocalEngine(
        MODEL, tiny_tokenizer(), max_prefill_tokens=32, prompt_lookup_num_tokens=0
    ) as engine:
        forward = engine.backend.forward

        def watched(cache, inputs, logits_to_keep=1):
            passes.append([len(each.ids) for each in inputs])
            return forward(cache, inputs, logits_to_keep)

        stream = engine.stream(request(tokens=60, least=60))
        next(stream)
        engine.backend.forward = watched
        long = engine.stream(request(length=300, tokens=2, seed=1))
        list(stream)
        assert len(list(long)) == 2
    prefills = [index for index, lengths in enumerate(passes) if max(lengths) > 1]
    assert len(prefills) >= 2 * 300 // 32
    assert all(len(lengths) * max(lengths) <= 32 for lengths in passes)
    # Between two chunks the running request always gets its token.
    assert all(later - earlier == 2 for earlier, later in pairwise(prefills[:10]))


@pytest.mark.parametrize("failures", [1, 2, 3])
def test_running_out_of_memory_costs_the_newest_request_at_most(failures):
    requests = [request(tokens=12, seed=n, least=12) for n in range(3)]
    with LocalEngine(MODEL, tiny_tokenizer()) as engine:
        expected = engine.generate(requests)  # something is kept, which is given up first
        forward, left = engine.backend.forward, [failures]

        def short_of_memory(cache, inputs, logits_to_keep=1):
            if len(inputs) == 6 and left[0]:
                left[0] -= 1
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return forward(cache, inputs, logits_to_keep)

        engine.backend.forward = short_of_memory
        outcomes = engine.generate(requests, return_exceptions=True)
    failed = [isinstance(outcome, GenerationError) for outcome in outcomes]
    assert failed == [False, False, failures > 1]
    assert outcomes[: 3 - sum(failed)] == expected[: 3 - sum(failed)]
    assert not failed[2] or "out of memory" in str(outcomes[2])


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("CUDA error: out of memory"),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_failed_allocations_of_libraries_are_recognised(error):
    assert is_out_of_memory(error)
    assert not is_out_of_memory(RuntimeError("CUDA error: device-side assert triggered"))


def test_a_full_queue_is_an_outcome_with_return_exceptions():
    bad = GenerationRequest(contexts=[[VOCABULARY]], sampling=SamplingParams())
    with LocalEngine(MODEL, tiny_tokenizer(), max_rows=2, max_waiting=0) as engine:
        requests = [request(seed=0), bad, request(seed=1)]
        first, wrong, second = engine.generate(requests, return_exceptions=True)
        assert isinstance(first, EngineOverloadedError)
        assert isinstance(second, EngineOverloadedError)
        assert isinstance(wrong, InvalidRequestError)
        assert engine.generate([request(seed=0)])[0].token_ids


@pytest.mark.parametrize(
    "limits",
    [{"max_rows": 0}, {"max_waiting": -1}, {"max_cache_tokens": 1.5}, {"max_prefix_tokens": True}],
)
def test_limits_are_whole_numbers(limits):
    with pytest.raises(InvalidParamsError, match=next(iter(limits))):
        LocalEngine(MODEL, tiny_tokenizer(), **limits)
    with pytest.raises(InvalidParamsError, match="whole number"):
        LocalEngine.from_pretrained("no such model", **limits)


def test_unknown_limits_are_refused():
    with pytest.raises(UnknownArgumentError, match=r"max_row"):
        LocalEngine(MODEL, tiny_tokenizer(), max_row=3)


def test_defaults_are_filled_in():
    with tiny_engine() as engine:
        assert engine.limits.max_prefill_tokens == 256
        assert engine.limits.max_cache_tokens > 10_000
        assert engine.limits.max_prefix_tokens == 16_384
