"""Constrained requests beside others: same tokens, failures and cancellations of one's own."""

from __future__ import annotations

import asyncio
import gc
import random
import threading

import pytest

from amulet_integrations import SamplingParams
from amulet_integrations.engine import GenerationRequest, GenerationResult, LocalEngine
from amulet_integrations.engine.structured import grammar as grammar_module
from amulet_integrations.engine.structured import shortest_completion as completion_module
from amulet_integrations.engine.structured.alternatives import OutputAlternative
from amulet_integrations.errors import EngineClosedError, GenerationError, RequestTimeoutError
from tests.support.schemas import random_schema, schema_grammar
from tests.support.tiny import tiny_engine as make_tiny_engine
from tests.support.tiny import tiny_model, tiny_tokenizer

BASE, MIXED = (1.0, 0.0), (-3.0, 4.0)


def constrained(seed, tokens=160, **changes):
    rng = random.Random(seed)
    grammar = schema_grammar(random_schema(rng))
    alternatives = [OutputAlternative(grammar=grammar, weights=BASE, string_weights=MIXED)]
    if seed % 2:
        alternatives.append(OutputAlternative(grammar="start: /[a-zA-Z ]+/", weights=MIXED))
    return GenerationRequest(
        contexts=[[rng.randrange(2, 500) for _ in range(rng.randint(2, 20))] for _ in range(2)],
        weights=BASE,
        alternatives=alternatives,
        sampling=SamplingParams(max_new_tokens=tokens),
        **changes,
    )


def free(seed, tokens=40):
    rng = random.Random(seed)
    return GenerationRequest(
        contexts=[[rng.randrange(2, 500) for _ in range(rng.randint(2, 20))] for _ in range(2)],
        weights=MIXED,
        sampling=SamplingParams(max_new_tokens=tokens),
    )


def all_requests():
    return [make(seed) for seed in range(5) for make in (constrained, free)]


@pytest.fixture(scope="module")
def alone():
    """What each request gives with nobody beside it."""
    with make_tiny_engine() as engine:
        return [engine.generate([request])[0] for request in all_requests()]


def test_company_changes_nothing(tiny_engine, alone):
    assert tiny_engine.generate(all_requests()) == alone
    backwards = tiny_engine.generate(all_requests()[::-1])
    assert backwards[::-1] == alone


def test_joining_late_changes_nothing(tiny_engine, alone):
    going = []
    for request in all_requests():
        going.append((tiny_engine.stream(request), []))
        for stream, steps in going[::2]:
            steps.extend(step for step in [next(stream, None)] if step)
    for stream, steps in going:
        steps.extend(stream)
    assert [GenerationResult.fold(steps) for _, steps in going] == alone


def test_few_rows_change_nothing(alone):
    with LocalEngine(tiny_model(), tiny_tokenizer(), max_rows=3) as engine:
        assert engine.generate(all_requests()) == alone


async def test_asyncio_changes_nothing(tiny_engine, alone):
    assert await tiny_engine.agenerate(all_requests()) == alone

    async def streamed(request):
        return GenerationResult.fold([step async for step in tiny_engine.astream(request)])

    assert await asyncio.gather(*map(streamed, all_requests())) == alone


def test_a_constrained_request_that_fails_fails_alone(monkeypatch, alone):
    fill, calls = completion_module.fill_next_token_bitmask, []
    victims = []

    def fails_once(matcher, bits, *rest):
        calls.append(matcher)
        if len(calls) == 60:
            victims.append(matcher)
            raise ValueError("the grammar broke")
        return fill(matcher, bits, *rest)

    with make_tiny_engine() as engine:
        for request in all_requests()[::2]:  # their grammars are compiled before
            engine.stream(request).close()
        calls.clear()
        monkeypatch.setattr(completion_module, "fill_next_token_bitmask", fails_once)
        outcomes = engine.generate(all_requests(), return_exceptions=True)
    failed = [number for number, item in enumerate(outcomes) if isinstance(item, GenerationError)]
    assert len(failed) == len(victims) == 1
    assert failed[0] % 2 == 0
    assert "the grammar broke" in str(outcomes[failed[0]])
    for number, outcome in enumerate(outcomes):
        assert number in failed or outcome == alone[number]


def test_one_that_is_too_slow_or_cancelled_leaves_the_others_alone(tiny_engine, alone):
    closed = tiny_engine.stream(constrained(7))
    next(closed)
    streams = [tiny_engine.stream(request) for request in all_requests()]
    closed.close()
    with pytest.raises(RequestTimeoutError):  # at once, or while it is read
        list(tiny_engine.stream(constrained(8, timeout=1e-6)))
    assert [GenerationResult.fold(stream) for stream in streams] == alone


@pytest.fixture
def slow_compiler(monkeypatch):
    """An engine that compiles a grammar only when the test lets it."""
    engine = make_tiny_engine()
    go_on, begun, ended = threading.Event(), threading.Event(), threading.Event()
    read = engine._grammars.compile

    def slowly(*arguments):
        begun.set()
        assert go_on.wait(20)
        try:
            return read(*arguments)
        finally:
            ended.set()

    monkeypatch.setattr(engine._grammars, "compile", slowly)
    with engine:
        yield engine, begun, go_on, ended
        go_on.set()


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - the engine's own state, on another thread
            await asyncio.sleep(0.005)


def idle(engine):
    return engine.stats.is_idle


@pytest.mark.parametrize("leave", ["cancel", "aclose", "drop"])
async def test_leaving_while_the_grammar_is_compiled_frees_everything(slow_compiler, leave):
    engine, begun, go_on, ended = slow_compiler
    stream = engine.astream(constrained(2, tokens=600))
    await until(begun.is_set)
    if leave == "cancel":
        task = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    elif leave == "aclose":
        await stream.aclose()
        assert [step async for step in stream] == []
    else:
        del stream
        gc.collect()
    submitted = []
    enqueue = engine._loop.enqueue
    engine._loop.enqueue = lambda sequences: (
        submitted.extend(kept := list(sequences)),
        enqueue(kept),
    )
    go_on.set()
    await until(ended.is_set)
    await until(lambda: all(sequence.done for sequence in submitted) and idle(engine))
    assert all(len(sequence.completion) < 100 for sequence in submitted)


async def test_closing_while_the_grammar_is_compiled_ends_the_stream(slow_compiler):
    engine, begun, go_on, _ = slow_compiler
    stream = engine.astream(constrained(2))
    await until(begun.is_set)
    await asyncio.to_thread(engine.close)
    go_on.set()
    with pytest.raises(EngineClosedError):
        await anext(stream)


async def test_the_loop_goes_on_while_another_compiles_a_grammar(monkeypatch):
    """A grammar that was compiled does not wait for one that is being compiled."""
    with make_tiny_engine() as engine:
        known, new = constrained(2, tokens=600), constrained(4, tokens=600)
        expected = engine.generate([known])
        go_on, begun = threading.Event(), threading.Event()
        make = grammar_module.LLMatcher

        def slowly(*args, **options):
            begun.set()
            assert go_on.wait(20)
            return make(*args, **options)

        monkeypatch.setattr(grammar_module, "LLMatcher", slowly)
        waiting = asyncio.ensure_future(engine.agenerate([new]))
        await until(begun.is_set)
        async with asyncio.timeout(10):
            assert await engine.agenerate([known]) == expected
        go_on.set()
        assert (await waiting)[0].finish_reason == "stop"
