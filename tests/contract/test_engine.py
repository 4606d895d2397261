"""What every engine promises, checked against a slow loop over its model's logits."""

from __future__ import annotations

import asyncio
import logging
import re

import pytest
import torch

from amulet_integrations import SamplingParams
from amulet_integrations.concurrency.deadline import Deadline
from amulet_integrations.engine import (
    Engine,
    GenerationRequest,
    GenerationResult,
    OutputAlternative,
    run_on_worker,
)
from amulet_integrations.errors import (
    ContextLengthError,
    EngineClosedError,
    EngineOverloadedError,
    GenerationError,
    InvalidRequestError,
    RequestCancelledError,
    RequestTimeoutError,
)
from tests.contract.subjects import (
    ENGINES,
    Subject,
    request_of,
    requests,
    require,
    token_ids,
    tokens,
)


@pytest.fixture(scope="module", params=ENGINES)
def subject(request) -> Subject:
    require(request.param)
    return ENGINES[request.param]()


def test_it_is_an_engine(subject):
    with subject.engine() as engine:
        assert isinstance(engine, Engine)
        assert engine.tokenizer.decode(engine.tokenizer.encode("a")) == "a"


def test_contexts_decode_in_lockstep(subject):
    with subject.engine() as engine:
        for request in requests():
            (result,) = engine.generate([request])
            assert result.token_ids == subject.greedy(request)
            assert result.usage.context_tokens == tuple(map(len, request.contexts))


def test_company_and_the_time_of_arrival_change_no_token(subject):
    expected = [subject.greedy(request) for request in requests()]
    with subject.engine(max_prefill_tokens=8) as engine:
        assert [result.token_ids for result in engine.generate(requests())] == expected
        first, *others = requests()
        running = engine.stream(others.pop())
        begun = [*next(running).token_ids, *next(running).token_ids]
        late = engine.generate([first, *others])
        assert [result.token_ids for result in late] == expected[:2]
        assert [*begun, *token_ids(running)] == expected[2]


def test_kept_prefixes_change_no_token_and_serve_their_own_salt_only(subject):
    shared, size = tokens(1, 70), subject.block_size
    request = GenerationRequest(
        contexts=[shared, [*shared, *tokens(2, 20)]],
        weights=[-1.0, 2.0],
        sampling=SamplingParams(max_new_tokens=6),
    )
    kept = tuple((length - 1) // size * size for length in (70, 90))
    with subject.engine(max_prefill_tokens=128) as engine:
        for salt in (None, "ann", "bob"):
            salted = request.model_copy(update={"cache_salt": salt})
            first, second = (engine.generate([salted])[0] for _ in range(2))
            assert first.token_ids == second.token_ids == subject.greedy(request)
            from_the_other_context = 70 // size * size
            assert first.usage.cached_tokens == (0, from_the_other_context)
            assert second.usage.cached_tokens == kept


def test_grammars_are_kept(subject):
    grammar = "start: /[a-c]{3}(-[0-9]{2}){2}/"
    guided = request_of(
        [7, 12],
        [-1.0, 2.0],
        max_new_tokens=30,
        alternatives=[OutputAlternative(grammar=grammar)],
    )
    with subject.engine() as engine:
        (alone,) = engine.generate([guided])
        together = engine.generate([*requests(), guided])
    assert re.fullmatch("[a-c]{3}(-[0-9]{2}){2}", alone.text)
    assert together[-1].text == alone.text
    assert [result.token_ids for result in together[:-1]] == list(map(subject.greedy, requests()))


def test_a_stop_string_ends_the_text(subject):
    request = request_of([5, 9], [-1.0, 2.0], max_new_tokens=20)
    with subject.engine() as engine:
        whole = engine.generate([request])[0].text
        stop = whole[len(whole) // 2 :][:3]
        sampling = SamplingParams(max_new_tokens=20, stop=[stop])
        (cut,) = engine.generate([request.model_copy(update={"sampling": sampling})])
        streamed = GenerationResult.fold(
            engine.stream(request.model_copy(update={"sampling": sampling}))
        )
    assert cut == streamed
    assert cut.text == whole[: whole.index(stop)]
    assert cut.finish_reason == "stop"


def test_cancelling_gives_the_row_back(subject):
    with subject.engine(max_rows=1, max_waiting=1) as engine:
        running = engine.stream(request_of([5], [1.0], max_new_tokens=250))
        next(running)
        waiting = engine.stream(request_of([6], [1.0]))
        with pytest.raises(EngineOverloadedError):
            engine.stream(request_of([7], [1.0]))
        running.close()
        assert token_ids(waiting) == subject.greedy(request_of([6], [1.0]))
        run_on_worker(int)  # the step that ends it
        assert engine.stats.is_idle


def test_a_policy_that_fails_is_the_failure_of_its_own_request(subject):
    def fails(log_probs: torch.Tensor) -> torch.Tensor:
        raise ValueError(f"{len(log_probs)} contexts")

    good = requests()
    bad = GenerationRequest(contexts=[[5, 6], [8, 7]], policy=fails)
    with subject.engine() as engine:
        outcomes = engine.generate([good[0], bad, *good[1:]], return_exceptions=True)
        assert isinstance(outcomes[1], GenerationError)
        assert "2 contexts" in str(outcomes[1])
        del outcomes[1]
        assert [outcome.token_ids for outcome in outcomes] == list(map(subject.greedy, good))


def test_seeds_logprobs_bounds_and_penalties_are_those_of_the_local_engine(subject):
    request = request_of(
        [30, 2, 11],
        [-0.5, 2.0, -0.5],
        max_kl=0.2,
        reference_weights=[0.5, 0.5, 0.0],
        logprobs=2,
        explain=1,
    )
    sampling = SamplingParams(
        max_new_tokens=12, temperature=0.9, top_p=0.95, repetition_penalty=1.2, seed=7
    )
    request = request.model_copy(update={"sampling": sampling})
    with subject.engine() as engine:
        alone, beside = (
            engine.generate(given)[-1] for given in ([request], [*requests(), request])
        )
    assert alone.token_ids == beside.token_ids
    for result in (alone, beside):
        for position, (logprob, explained) in enumerate(
            zip(result.logprobs, result.explanations, strict=True)
        ):
            policy = subject.log_probs(
                request.contexts, explained.weights, result.token_ids[:position]
            )
            assert logprob.logprob == pytest.approx(float(policy[logprob.token_id]), abs=2e-3)
            assert explained.kl_from_pref <= 0.2 + 2e-3
    assert len(alone.guidance_fractions) == len(alone.token_ids)


async def test_asyncio_sees_the_same_and_a_cancelled_task_gives_its_rows_back(subject):
    with subject.engine() as engine:
        results = await engine.agenerate(requests())
        assert [result.token_ids for result in results] == list(map(subject.greedy, requests()))
        long = request_of([5, 8], [-1.0, 2.0], max_new_tokens=200)
        task = asyncio.create_task(engine.agenerate([long]))
        while engine.stats.is_idle:  # noqa: ASYNC110 - engines know no asyncio
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert token_ids(engine.stream(requests()[0])) == subject.greedy(requests()[0])
        run_on_worker(int)
        assert engine.stats.is_idle


def test_time_that_is_up_ends_one_request(subject):
    late = request_of([5, 8], [-1.0, 2.0], max_new_tokens=250, timeout=0.001)
    with subject.engine() as engine:
        outcomes = engine.generate([*requests(), late], return_exceptions=True)
    assert isinstance(outcomes.pop(), RequestTimeoutError)
    assert [outcome.token_ids for outcome in outcomes] == list(map(subject.greedy, requests()))


def test_the_time_of_a_call_counts_from_its_beginning_and_cancelling_it_ends_its_requests(subject):
    over, cancelled = Deadline(1e-9), Deadline(60.0)
    late = request_of([5, 8], [-1.0, 2.0], deadline=over)
    long = request_of([5, 8], [-1.0, 2.0], max_new_tokens=250, deadline=cancelled)
    with subject.engine() as engine:
        outcomes = engine.generate([*requests(), late], return_exceptions=True)
        running = [engine.stream(long), engine.stream(long)]
        next(running[0])
        cancelled.cancel()
        for stream in running:
            with pytest.raises(RequestCancelledError):
                list(stream)
        run_on_worker(int)
        assert engine.stats.is_idle
    assert isinstance(outcomes.pop(), RequestTimeoutError)
    assert [outcome.token_ids for outcome in outcomes] == list(map(subject.greedy, requests()))


def test_users_take_turns_and_each_request_is_logged_as_it_was(subject, caplog):
    log = "amulet_integrations.engine.request_log"
    caplog.set_level(logging.INFO, logger=log)
    of_ann = [request_of([length], [1.0], user_id="ann") for length in (5, 6, 7)]
    of_bob = request_of([8], [1.0], user_id="bob")
    with subject.engine(max_rows=1) as engine:
        results = engine.generate([*of_ann, of_bob])
    records = [record for record in caplog.records if record.name == log]
    stats = [record.amulet_request for record in records]
    assert [each.prompt_tokens for each in stats] == [5, 8, 6, 7]
    for each, result in zip(stats, (results[index] for index in (0, 3, 1, 2)), strict=True):
        assert each.outcome == result.finish_reason
        assert each.completion_tokens == len(result.token_ids)
        assert each.cached_tokens == sum(result.usage.cached_tokens)
        assert 0.0 <= each.queue_seconds <= each.first_token_seconds <= each.total_seconds
    assert not any("ann" in record.getMessage() for record in records)


def test_what_does_not_fit_is_refused(subject):
    with subject.engine(max_cache_tokens=192) as engine:
        with pytest.raises(ContextLengthError, match="context window"):
            engine.stream(request_of([engine.context_window], [1.0]))
        with pytest.raises(ContextLengthError, match="max_cache_tokens=192"):
            engine.stream(request_of([120, 120], [-1.0, 2.0]))
        with pytest.raises(InvalidRequestError, match="not in the vocabulary"):
            engine.stream(GenerationRequest(contexts=[[100_000]]))
        assert engine.generate(requests()[:1])[0].token_ids == subject.greedy(requests()[0])


def test_scores_are_those_of_the_slow_loop(subject):
    (request,) = [request_of([9, 14], [-1.0, 2.0])]
    completion = tokens(8, 30)
    mixtures = [[1.0, 0.0], [-1.0, 2.0]]
    expected = torch.tensor(
        [
            [
                float(subject.log_probs(request.contexts, weights, completion[:index])[token])
                for index, token in enumerate(completion)
            ]
            for weights in [*mixtures, [0.0, 1.0]]
        ]
    )
    with subject.engine(max_prefill_tokens=16) as engine:
        mixed = engine.score(request.contexts, completion, mixtures)
        each = engine.score(request.contexts, completion)
        # Scoring has rows of its own: requests go on as if nothing had been.
        stream = engine.stream(request)
        begun = next(stream).token_ids
        engine.score(request.contexts, completion)
        assert [*begun, *token_ids(stream)] == subject.greedy(request)
    torch.testing.assert_close(mixed, expected[:2], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(each, expected[[0, 2]], atol=1e-3, rtol=1e-3)


def test_a_closed_engine_ends_everything(subject):
    engine = subject.engine(max_rows=1)
    streams = [engine.stream(request_of([5], [1.0], max_new_tokens=250)) for _ in range(2)]
    next(streams[0])
    engine.close()
    engine.close()
    for stream in streams:
        with pytest.raises(EngineClosedError):
            list(stream)
    for call in (
        lambda: engine.generate([request_of([5], [1.0])]),
        lambda: engine.score([[5]], [6]),
    ):
        with pytest.raises(EngineClosedError):
            call()
