"""Groups on vLLM's own scheduler: in step, beside anything, and gone without a trace."""

from __future__ import annotations

import time
from collections import defaultdict

import pytest

from amulet_integrations import SamplingParams
from amulet_integrations.engine import GenerationRequest, run_on_worker
from amulet_integrations.errors import GenerationError
from tests.contract.subjects import request_of, token_ids

PAIR = [-1.0, 2.0]


def core_of(engine):
    """vLLM's own engine behind ours."""
    return engine._loop._core._client.engine_core


def pairs(count: int, *, seed: int = 0, max_new_tokens: int = 12) -> list[GenerationRequest]:
    lengths = [(3 + 17 * n % 90, 5 + 29 * n % 110) for n in range(count)]
    return [
        request_of(each, PAIR, seed=seed + n, max_new_tokens=max_new_tokens)
        for n, each in enumerate(lengths)
    ]


def preempt_all(engine) -> None:
    core_of(engine).scheduler.reset_prefix_cache(reset_running_requests=True)


def leaves_nothing(engine) -> bool:
    run_on_worker(int)  # the step that ends the last request
    scheduler = core_of(engine).scheduler
    manager = scheduler.kv_cache_manager
    free = manager.block_pool.get_num_free_blocks()
    return (
        engine.stats.is_idle
        and not scheduler.requests
        and not scheduler.running
        and free == scheduler.kv_cache_config.num_blocks - 1
    )


def test_eight_groups_beside_eight_plain_requests_of_vllm(tiny, tiny_vllm, monkeypatch):
    from vllm import SamplingParams as PlainParams
    from vllm.v1.engine import EngineCoreRequest

    client, written = tiny_vllm._loop._core._client, defaultdict(list)
    get_output = client.get_output

    def recorded():
        outputs = get_output()
        for output in outputs.outputs:
            written[output.request_id] += output.new_token_ids
        return outputs

    monkeypatch.setattr(client, "get_output", recorded)
    singles = [request_of([7 + 13 * n], [1.0], seed=50 + n) for n in range(8)]
    for number, single in enumerate(singles):
        params = PlainParams(temperature=0.0, max_tokens=12, ignore_eos=True)
        plain = EngineCoreRequest(
            request_id=f"plain-{number}",
            prompt_token_ids=list(single.contexts[0]),
            mm_features=None,
            sampling_params=params,
            pooling_params=None,
            arrival_time=time.time(),
            lora_request=None,
            cache_salt=None,
            data_parallel_rank=None,
        )
        run_on_worker(client.add_request, plain)
    results = tiny_vllm.generate(pairs(8, max_new_tokens=24))
    assert [it.token_ids for it in results] == list(map(tiny.greedy, pairs(8, max_new_tokens=24)))
    for number, single in enumerate(singles):
        expected = tiny.greedy(single)  # ends at the end of text, which plain requests ignore here
        assert written[f"plain-{number}"][: len(expected)] == expected
    assert leaves_nothing(tiny_vllm)


def test_groups_of_one_two_and_three_contexts_in_any_company(tiny, tiny_vllm):
    requests = [
        *pairs(6),
        *(request_of([40 + n], [1.0], seed=70 + n) for n in range(4)),
        *(request_of([30 + n, 2, 11 * n + 1], [-0.5, 2.0, -0.5], seed=90 + n) for n in range(4)),
    ]
    expected = list(map(tiny.greedy, requests))
    assert [it.token_ids for it in tiny_vllm.generate(requests)] == expected
    assert [it.token_ids for it in tiny_vllm.generate(requests[::-1])] == expected[::-1]
    assert leaves_nothing(tiny_vllm)


@pytest.mark.parametrize("lengths", [(1, 1), (1, 40), (40, 1), (33, 65), (65, 33), (64, 2)])
def test_contexts_of_which_one_token_is_left_to_compute(tiny, tiny_vllm, lengths):
    """One token is all there is, or all that a kept prefix leaves (blocks have 32)."""
    request = request_of(lengths, PAIR, seed=sum(lengths))
    for _ in range(3):
        alone, *_ = tiny_vllm.generate([request])
        beside, *_ = tiny_vllm.generate([request, *pairs(4)])
        assert alone.token_ids == beside.token_ids == tiny.greedy(request)


def test_preemption_changes_no_token(tiny, tiny_vllm):
    requests = pairs(4, max_new_tokens=20)
    streams = [tiny_vllm.stream(request) for request in requests]
    written = [[*next(stream).token_ids] for stream in streams]
    for _ in range(2):
        run_on_worker(preempt_all, tiny_vllm)
        for stream, ids in zip(streams, written, strict=True):
            ids.extend(next(stream).token_ids)
    for stream, ids, request in zip(streams, written, requests, strict=True):
        assert [*ids, *token_ids(stream)] == tiny.greedy(request)
    assert leaves_nothing(tiny_vllm)


def test_a_reader_that_goes_away_takes_its_group_along(tiny, tiny_vllm):
    others = pairs(3, max_new_tokens=16)
    streams = [tiny_vllm.stream(request) for request in others]
    in_prefill = tiny_vllm.stream(request_of([200, 280], PAIR, seed=7))
    decoding = tiny_vllm.stream(request_of([5, 8], PAIR, seed=8, max_new_tokens=100))
    next(decoding)
    in_prefill.close()
    del decoding
    assert list(map(token_ids, streams)) == list(map(tiny.greedy, others))
    assert leaves_nothing(tiny_vllm)


def test_a_group_that_vllm_ends_fails_alone(tiny, tiny_vllm):
    kept = pairs(2, max_new_tokens=16)
    streams = [tiny_vllm.stream(request) for request in kept]
    ended = tiny_vllm.stream(request_of([5, 8], PAIR, seed=8, max_new_tokens=200))
    next(ended)

    def end_one_context():
        group = list(tiny_vllm._loop._core._groups.values())[-1]
        core_of(tiny_vllm).abort_requests(group.request_ids[1:])

    run_on_worker(end_one_context)
    with pytest.raises(GenerationError, match="vLLM ended the request"):
        list(ended)
    assert list(map(token_ids, streams)) == list(map(tiny.greedy, kept))
    assert leaves_nothing(tiny_vllm)


def test_a_step_that_fails_ends_what_runs_and_the_engine_lives(tiny, tiny_vllm, monkeypatch):
    executor = core_of(tiny_vllm).model_executor
    execute = executor.execute_model

    def fails(*args, **options):
        monkeypatch.setattr(executor, "execute_model", execute)
        raise ValueError("no kernel")

    streams = [tiny_vllm.stream(request) for request in pairs(2, max_new_tokens=100)]
    for stream in streams:
        next(stream)
    monkeypatch.setattr(executor, "execute_model", fails)
    for stream in streams:
        with pytest.raises(GenerationError, match="no kernel"):
            list(stream)
    assert tiny_vllm.generate(pairs(1))[0].token_ids == tiny.greedy(pairs(1)[0])
    assert leaves_nothing(tiny_vllm)


def test_seeds_draw_the_same_after_preemption(tiny_vllm):
    sampling = SamplingParams(max_new_tokens=16, temperature=1.0, seed=3)
    request = request_of([9, 14], PAIR).model_copy(update={"sampling": sampling})
    (alone,) = tiny_vllm.generate([request])
    stream = tiny_vllm.stream(request)
    written = [*next(stream).token_ids]
    run_on_worker(preempt_all, tiny_vllm)
    assert [*written, *token_ids(stream)] == alone.token_ids
