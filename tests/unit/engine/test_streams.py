"""Streams, stops, ends: the text streamed is the text returned, and nobody is left waiting."""

from __future__ import annotations

import asyncio
import gc
import threading
import time

import pytest
import torch

from amulet_integrations import SamplingParams
from amulet_integrations.engine import GenerationRequest, GenerationResult, LocalEngine
from amulet_integrations.errors import (
    ContextLengthError,
    EngineClosedError,
    GenerationError,
    InvalidRequestError,
    RequestTimeoutError,
)
from tests.support.tiny import CONTEXT_WINDOW
from tests.support.tiny import tiny_engine as make_tiny_engine

CONTEXTS = [[5, 6, 7], [8, 9]]


def request(tokens=30, **changes):
    sampling = SamplingParams(max_new_tokens=tokens, **changes.pop("sampling", {}))
    return GenerationRequest(contexts=CONTEXTS, weights=[-1.0, 2.0], sampling=sampling, **changes)


@pytest.fixture
def slow_engine():
    """Decodes one request at a time, slowly enough to be interrupted."""
    engine = make_tiny_engine()
    lone = LocalEngine(engine.backend.model, engine.tokenizer, max_rows=2)
    forward = lone.backend.model.forward

    def slowly(*args, **options):
        slowly.steps += 1
        time.sleep(0.005)
        return forward(*args, **options)

    slowly.steps = 0
    lone.backend.model.forward = slowly
    with lone:
        yield lone


def steps_of(slow_engine):
    """How many steps were taken: what a busy machine does not lengthen, as it does seconds."""
    return slow_engine.backend.model.forward.steps


async def test_all_four_methods_give_the_same(tiny_engine):
    one = request(sampling={"temperature": 0.9, "seed": 2})
    whole = tiny_engine.generate([one])[0]
    streamed = GenerationResult.fold(tiny_engine.stream(one))
    asynchronous = (await tiny_engine.agenerate([one]))[0]
    in_pieces = GenerationResult.fold([piece async for piece in tiny_engine.astream(one)])
    assert whole == streamed == asynchronous == in_pieces
    assert whole.usage.completion_tokens == len(whole.token_ids)


def test_a_stream_gives_one_token_at_a_time_and_ends_once(tiny_engine):
    steps = list(tiny_engine.stream(request(9)))
    assert [len(step.token_ids) for step in steps] == [1] * len(steps)
    assert [step.finish_reason for step in steps[:-1]] == [None] * (len(steps) - 1)
    assert steps[-1].finish_reason in {"stop", "length"}
    assert steps[-1].usage is not None


def test_stop_strings_end_the_text_and_do_not_leak(tiny_engine):
    free = tiny_engine.generate([request(40)])[0].text
    # A stop string that begins inside one token and ends inside another.
    stop = free[7:12]
    stopping = request(40, sampling={"stop": [stop, "never to be seen"]})
    result = tiny_engine.generate([stopping])[0]
    assert result.text == free[: free.index(stop)]
    assert result.finish_reason == "stop"
    assert "".join(step.text for step in tiny_engine.stream(stopping)) == result.text


def test_the_end_of_text_token_ends_the_text():
    engine = make_tiny_engine()
    with engine:
        free = engine.generate([request(20)])[0]
        engine.backend.end_ids = frozenset({free.token_ids[4]})
        ended = engine.generate([request(20)])[0]
    first = free.token_ids.index(free.token_ids[4])
    assert ended.token_ids == free.token_ids[: first + 1]
    assert ended.finish_reason == "stop"
    assert free.text.startswith(ended.text)


def test_the_context_window_cuts_the_completion(tiny_engine):
    ids = [5] * (CONTEXT_WINDOW - 3)
    result = tiny_engine.generate([GenerationRequest(contexts=[ids])])[0]
    assert len(result.token_ids) <= 3
    assert result.finish_reason == "length"


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        ([5] * CONTEXT_WINDOW, ContextLengthError, f"{CONTEXT_WINDOW} tokens leaves no room"),
        ([5, 100_000], InvalidRequestError, "100000 is not in the vocabulary of 512"),
    ],
)
async def test_what_cannot_be_run_is_refused_before_anything_is(tiny_engine, ids, error, message):
    bad = GenerationRequest(contexts=[[5], ids], weights=[0.5, 0.5])
    for call in (
        lambda: tiny_engine.stream(bad),
        lambda: tiny_engine.astream(bad),
        lambda: tiny_engine.generate([request(), bad]),
        lambda: tiny_engine.score([ids], [5]),
        lambda: tiny_engine.score([[5]], ids),
    ):
        with pytest.raises(error, match=message):
            call()
    with pytest.raises(error, match=message):
        await tiny_engine.agenerate([bad])


async def test_one_bad_request_beside_good_ones(tiny_engine):
    good = tiny_engine.generate([request()])[0]

    def broken(log_probs):
        raise ZeroDivisionError("mine")

    requests = [
        request(),
        GenerationRequest(contexts=[[100_000]]),
        GenerationRequest(contexts=CONTEXTS, policy=broken),
        GenerationRequest(contexts=CONTEXTS, policy=lambda rows: rows),
        GenerationRequest(contexts=CONTEXTS, policy=lambda rows: rows[0] * float("nan")),
        request(),
    ]
    for outcomes in (
        tiny_engine.generate(requests, return_exceptions=True),
        await tiny_engine.agenerate(requests, return_exceptions=True),
    ):
        assert outcomes[0] == outcomes[5] == good
        assert isinstance(outcomes[1], InvalidRequestError)
        assert isinstance(outcomes[2].__cause__, ZeroDivisionError)
        assert "shape (2, 512)" in str(outcomes[3])
        assert isinstance(outcomes[4], GenerationError)
    with pytest.raises(GenerationError, match="ZeroDivisionError: mine"):
        tiny_engine.generate([requests[0], requests[2]])


def test_a_model_that_fails_fails_its_requests_only_once():
    engine = make_tiny_engine()
    forward = engine.backend.model.forward
    calls = []

    def fails_on_long_prompts(input_ids, **options):
        calls.append(input_ids.shape)
        if input_ids.shape[1] > 20:
            raise RuntimeError("too long for me")
        return forward(input_ids=input_ids, **options)

    engine.backend.model.forward = fails_on_long_prompts
    with engine:
        outcomes = engine.generate(
            [request(), GenerationRequest(contexts=[[5] * 30]), request()], return_exceptions=True
        )
        assert "too long for me" in str(outcomes[1])
        assert outcomes[0] == outcomes[2] == engine.generate([request()])[0]


def test_closing_or_dropping_a_stream_gives_its_row_back(slow_engine):
    quick = request(1)
    for end in (lambda stream: stream.close(), lambda stream: None):
        stream = slow_engine.stream(request(600))
        next(stream)
        before = steps_of(slow_engine)
        end(stream)
        del stream
        gc.collect()
        slow_engine.generate([quick])  # waits for room: the engine holds one request
        assert steps_of(slow_engine) - before < 300


def test_a_closed_stream_is_over(tiny_engine):
    with tiny_engine.stream(request(600)) as stream:
        next(stream)
    assert list(stream) == []


async def test_a_cancelled_task_gives_its_row_back(slow_engine):
    for start in (
        lambda: slow_engine.agenerate([request(600)]),
        lambda: anext(aiter_all(slow_engine.astream(request(600)))),
    ):
        task = asyncio.create_task(start())
        await asyncio.sleep(0.05)
        before = steps_of(slow_engine)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await slow_engine.agenerate([request(1)])
        assert steps_of(slow_engine) - before < 300


async def aiter_all(stream):
    yield [piece async for piece in stream]


async def test_a_deadline_is_kept_while_running_and_while_waiting(slow_engine):
    running = slow_engine.stream(request(600))
    next(running)
    with pytest.raises(RequestTimeoutError, match=r"timeout of 0\.05 s") as caught:
        slow_engine.generate([request(600, timeout=0.05)])
    assert isinstance(caught.value, TimeoutError)
    running.close()
    with pytest.raises(RequestTimeoutError):
        slow_engine.generate([request(600, timeout=0.1)])
    with pytest.raises(RequestTimeoutError):
        await slow_engine.agenerate([request(600, timeout=0.1)])


def test_closing_the_engine_ends_what_runs_and_what_waits(slow_engine):
    streams = [slow_engine.stream(request(600)) for _ in range(3)]
    next(streams[0])
    slow_engine.close()
    for stream in streams:
        with pytest.raises(EngineClosedError):
            list(stream)
    with pytest.raises(EngineClosedError):
        slow_engine.generate([request()])
    with pytest.raises(EngineClosedError):
        slow_engine.score(CONTEXTS, [5])


def test_no_grad_modes_leak_into_the_caller(tiny_engine):
    stream = tiny_engine.stream(request(5))
    next(stream)
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()
    stream.close()


def test_many_threads_and_an_empty_list(tiny_engine):
    assert tiny_engine.generate([]) == []
    expected = tiny_engine.generate([request()])[0]
    results = []
    threads = [
        threading.Thread(target=lambda: results.extend(tiny_engine.generate([request()] * 3)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 24


@pytest.mark.parametrize("prompt", [1, 100])
def test_no_logits_but_those_of_the_last_position_are_made(prompt):
    engine = make_tiny_engine()
    widths = []
    engine.backend.model.lm_head.register_forward_hook(
        lambda module, inputs, output: widths.append(output.shape[1])
    )
    with engine:
        engine.generate([GenerationRequest(contexts=[[5] * prompt, [6]], weights=[-1, 2])])
    assert set(widths) == {1}
