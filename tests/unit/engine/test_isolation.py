"""A failure concerns one request only, and no caller waits for ever."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import weakref

import pytest
import torch

from amulet_integrations import SamplingParams
from amulet_integrations.engine import (
    GenerationRequest,
    GenerationResult,
    LocalEngine,
    run_on_worker,
)
from amulet_integrations.engine.scheduler import Scheduler
from amulet_integrations.errors import GenerationError, InvalidRequestError
from tests.support.tiny import tiny_engine as make_tiny_engine
from tests.support.tiny import tiny_model, tiny_tokenizer

CONTEXTS, WEIGHTS = [[5, 6, 7], [8, 9]], [-1.0, 2.0]


def request(**sampling):
    return GenerationRequest(
        contexts=CONTEXTS,
        weights=WEIGHTS,
        sampling=SamplingParams(**{"max_new_tokens": 12, **sampling}),
    )


@pytest.mark.parametrize(
    "sampling",
    [
        {"temperature": 1e-40},
        {"temperature": 1e-5},
        {"temperature": 100.0},
        {"temperature": 1.0, "repetition_penalty": 0.01},
        {"temperature": 1e-30, "repetition_penalty": 100.0, "top_p": 1e-9, "top_k": 1},
    ],
)
def test_extreme_sampling_is_no_accident(tiny_engine, sampling):
    good = tiny_engine.generate([request()])[0]
    results = tiny_engine.generate([request(), request(seed=1, **sampling), request()])
    assert results[0] == results[2] == good
    if sampling == {"temperature": 1e-40}:
        assert results[1].token_ids == good.token_ids


def test_a_sampler_or_a_tokenizer_that_fails_fails_one_request(monkeypatch):
    with make_tiny_engine() as engine:
        good = engine.generate([request()])[0]
        monkeypatch.setattr(
            "amulet_integrations.decoding.logits_filters.torch.multinomial",
            lambda *_args, **_options: (_ for _ in ()).throw(RuntimeError("no dice")),
        )
        outcomes = engine.generate([request(), request(temperature=1.0)], return_exceptions=True)
        assert outcomes[0] == good
        assert "no dice" in str(outcomes[1])
        decode = engine.tokenizer.decode
        seen = []

        def decodes_at_first(ids, **options):
            seen.append(ids)
            if len(seen) == 3:
                raise ValueError("cannot read this")
            return decode(ids, **options)

        monkeypatch.setattr(engine.tokenizer, "decode", decodes_at_first)
        outcomes = engine.generate([request(), request()], return_exceptions=True)
        assert sorted(isinstance(outcome, GenerationError) for outcome in outcomes) == [False, True]


@pytest.mark.parametrize("error", [SystemExit, asyncio.CancelledError, KeyboardInterrupt])
def test_no_error_of_a_policy_stops_the_engine(tiny_engine, error):
    def policy(log_probs):
        raise error

    bad = GenerationRequest(contexts=[[5]], policy=policy)
    outcomes = tiny_engine.generate([bad, request()], return_exceptions=True)
    assert error.__name__ in str(outcomes[0])
    assert outcomes[1] == tiny_engine.generate([request()])[0]


def test_errors_hold_no_tensors(tiny_engine):
    kept = []

    def policy(log_probs):
        kept.append(weakref.ref(log_probs))
        raise ValueError

    gc.collect()
    gc.disable()
    try:
        (failure,) = tiny_engine.generate(
            [GenerationRequest(contexts=[[5]], policy=policy)], return_exceptions=True
        )
        run_on_worker(int)
    finally:
        gc.enable()
    assert isinstance(failure.__cause__, ValueError)
    assert kept[0]() is None


def test_a_defect_in_the_scheduler_leaves_no_caller_waiting(monkeypatch):
    with make_tiny_engine() as engine:
        with monkeypatch.context() as patch:
            patch.setattr(Scheduler, "admit", lambda _: 1 / 0)
            with pytest.raises(GenerationError, match="ZeroDivisionError"):
                engine.generate([request()])
        assert engine.generate([request()])[0].token_ids


def test_a_closed_event_loop_disturbs_no_other_request(tiny_engine):
    async def leave():
        stream = tiny_engine.astream(request(max_new_tokens=400))
        await anext(stream)
        return stream

    stream = asyncio.run(leave())  # its loop is closed now; the stream is still held
    assert tiny_engine.generate([request()])[0].token_ids
    run_on_worker(int)
    assert tiny_engine.stats.is_idle
    del stream


def test_the_worker_does_not_wait_for_itself(tiny_engine):
    with pytest.raises(GenerationError, match="worker thread"):
        run_on_worker(lambda: tiny_engine.generate([request()]))
    inner = GenerationRequest(
        contexts=[[5]], policy=lambda rows: tiny_engine.generate([request()]) and rows[0]
    )
    with pytest.raises(GenerationError, match="worker thread"):
        tiny_engine.generate([inner])
    assert tiny_engine.generate([request()])[0].token_ids


def test_async_calls_outside_a_loop_are_refused(tiny_engine):
    with pytest.raises(InvalidRequestError, match="event loop"):
        tiny_engine.astream(request())


def test_one_request_in_place_of_a_list_is_refused(tiny_engine):
    with pytest.raises(InvalidRequestError, match="list of requests"):
        tiny_engine.generate(request())
    with pytest.raises(InvalidRequestError, match="no GenerationRequest"):
        tiny_engine.stream([request()])


def run_script(code: str) -> subprocess.CompletedProcess[str]:
    prelude = """
        from amulet_integrations import SamplingParams
        from amulet_integrations.engine import GenerationRequest
        from tests.support.tiny import tiny_engine
        engine = tiny_engine()
        long = GenerationRequest(contexts=[[5]], sampling=SamplingParams(max_new_tokens=600))
        short = GenerationRequest(contexts=[[5]], sampling=SamplingParams(max_new_tokens=3))
    """
    script = textwrap.dedent(prelude) + textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )


def test_the_interpreter_exits_while_a_thread_decodes():
    ran = run_script(
        """
        import threading
        from amulet_integrations.errors import EngineClosedError
        def decode():
            try:
                while True:
                    engine.generate([long])
            except EngineClosedError:
                print("closed")
        threading.Thread(target=decode).start()
        engine.generate([short])
        """
    )
    assert (ran.returncode, ran.stdout) == (0, "closed\n"), ran.stderr


def test_the_interpreter_exits_while_torch_is_imported_for_a_call_whose_time_is_up():
    script = """
        from amulet_integrations.errors import RequestTimeoutError
        from amulet_integrations.langchain import ChatAmulet
        try:
            ChatAmulet(preference="Be kind.").invoke("Why?", timeout=0.05)
        except RequestTimeoutError:
            print("in time")
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "in time\n", "")


@pytest.mark.parametrize(
    "end",
    ["asyncio.run(read())", "asyncio.new_event_loop().run_until_complete(read())"],
    ids=["the loop has ended", "the loop is left"],
)
def test_the_interpreter_exits_while_streams_are_open(end):
    ran = run_script(
        f"""
        import asyncio
        from amulet_integrations.langchain import ChatAmulet
        from amulet_integrations.llama_index import AmuletLLM
        chat, llm = ChatAmulet(engine=engine, max_tokens=600), AmuletLLM(engine=engine)
        kept = [engine.stream(long), chat.stream("Why?"), llm.stream_complete("Why?")]
        for stream in kept:
            next(stream)

        async def read():
            kept.extend([chat.astream("Why?"), await llm.astream_complete("Why?")])
            kept.append(engine.astream(long))
            for stream in kept[3:]:
                await anext(stream)

        {end}
        """
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_processes_of_multiprocessing_that_fork_decode_with_the_engine():
    ran = run_script(
        """
        import multiprocessing, torch
        torch.set_num_threads(1)
        expected = engine.generate([short])[0].token_ids

        def decode(_):
            return engine.generate([short])[0].token_ids

        with multiprocessing.get_context("fork").Pool(2) as pool:
            print([ids == expected for ids in pool.map(decode, range(3))])
        print(engine.generate([short])[0].token_ids == expected)
        """
    )
    assert ran.stdout == "[True, True, True]\nTrue\n", ran.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_child_decodes_whatever_the_parent_was_doing():
    ran = run_script(
        """
        import os, torch
        torch.set_num_threads(1)
        stream = engine.stream(long)
        next(stream)
        child = os.fork()
        tokens = engine.generate([short])[0].token_ids
        if child == 0:
            os._exit(0 if len(tokens) == 3 else 1)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), len(list(stream)) > 100)
        """
    )
    assert ran.stdout == "0 True\n", ran.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_child_compiles_grammars_whatever_the_parent_was_compiling():
    ran = run_script(
        """
        import os, signal, threading, torch
        from amulet_integrations.engine import OutputAlternative
        from amulet_integrations.engine.structured import grammar
        torch.set_num_threads(1)
        go, begun, read = threading.Event(), threading.Event(), grammar.LLMatcher

        def read_slowly(*args, **options):
            begun.set()
            go.wait(50)
            return read(*args, **options)

        def ask(text):
            output = OutputAlternative(grammar=f'start: "{text}"')
            request = GenerationRequest(contexts=[[5]], alternatives=[output])
            return engine.generate([request])[0].text

        ask("z")  # the tokenizer is read
        grammar.LLMatcher = read_slowly
        asking = threading.Thread(target=lambda: print(ask("a")))
        asking.start()
        begun.wait()
        if not (child := os.fork()):
            signal.alarm(20)
            grammar.LLMatcher = read
            os._exit(0 if [ask("b"), ask("a")] == ["b", "a"] else 1)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
        go.set()
        asking.join()
        """
    )
    assert ran.stdout == "0\na\n", ran.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_child_cannot_read_its_parents_stream():
    ran = run_script(
        """
        import asyncio, os, torch
        from amulet_integrations.errors import GenerationError
        torch.set_num_threads(1)

        async def both():
            streams = engine.stream(long), engine.astream(long)
            next(streams[0])
            if child := os.fork():
                _, status = os.waitpid(child, 0)
                whole = list(streams[0]), [each async for each in streams[1]]
                print(os.waitstatus_to_exitcode(status), *(len(each) > 100 for each in whole))
                return
            errors = 0
            try:
                next(streams[0])
            except GenerationError as error:
                errors += "before the process forked" in str(error)
            try:
                await anext(streams[1])
            except GenerationError:
                errors += 1
            os._exit(errors)

        asyncio.run(both())
        """
    )
    assert ran.stdout == "2 True True\n", ran.stderr


def test_contexts_of_weight_zero_are_not_run(tiny_engine):
    long = [5] * (tiny_engine.context_window + 5)
    result = tiny_engine.generate(
        [
            GenerationRequest(
                contexts=[long, [5]],
                weights=[0.0, 1.0],
                sampling=SamplingParams(max_new_tokens=9),
            )
        ]
    )[0]
    assert len(result.token_ids) == 9 or result.finish_reason == "stop"


def test_a_penalty_sees_the_policy_however_it_was_made(tiny_engine):
    weights = torch.tensor(WEIGHTS)
    # Below 1 it encourages repetition, which shows sooner than the opposite.
    sampling = SamplingParams(max_new_tokens=25, repetition_penalty=0.05)
    mixed, own = tiny_engine.generate(
        [
            GenerationRequest(contexts=CONTEXTS, weights=WEIGHTS, sampling=sampling),
            GenerationRequest(
                contexts=CONTEXTS, policy=lambda rows: weights @ rows, sampling=sampling
            ),
        ]
    )
    assert mixed.token_ids == own.token_ids
    assert mixed.token_ids != tiny_engine.generate([request(max_new_tokens=25)])[0].token_ids


def test_a_penalty_on_one_context_is_that_of_generate():
    with make_tiny_engine() as engine:
        ids = torch.tensor([[5, 6, 7]])
        sampling = SamplingParams(max_new_tokens=25, repetition_penalty=1.5)
        result = engine.generate([GenerationRequest(contexts=ids, sampling=sampling)])[0]
        model = engine.backend.model
        expected = []
        while len(expected) < 25 and expected[-1:] != [1]:
            logits = model(torch.tensor([[5, 6, 7, *expected]])).logits[0, -1].detach()
            for token in set(expected):
                logits[token] = logits[token] * 1.5 if logits[token] < 0 else logits[token] / 1.5
            expected.append(int(logits.argmax()))
        assert result.token_ids == expected


def test_bfloat16_decodes_and_streams():
    model = tiny_model().to(torch.bfloat16)
    with LocalEngine(model, tiny_tokenizer()) as engine:
        whole = engine.generate([request()])[0]
        assert GenerationResult.fold(engine.stream(request())) == whole
