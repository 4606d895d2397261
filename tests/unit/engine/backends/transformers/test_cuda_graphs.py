"""Captured decode steps, with a capture on the CPU that does what a CUDA graph does.

It records the operations of one step and the tensors that they are applied to. A replay repeats
them on the same tensors and runs no Python of the model's, so whatever the step takes from a Python
value stays as it was when it was captured.
"""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from amulet_integrations import SamplingParams
from amulet_integrations.engine import GenerationRequest, LocalEngine, run_on_worker
from amulet_integrations.engine.backends.base import RowInput
from amulet_integrations.engine.backends.transformers.backend import TransformersBackend
from amulet_integrations.engine.backends.transformers.cuda_graphs import CudaGraphRunner
from amulet_integrations.engine.backends.transformers.forward_pass import ForwardPass
from amulet_integrations.engine.backends.transformers.masks import Batching
from amulet_integrations.engine.backends.transformers.row_cache import RowCache
from amulet_integrations.errors import InvalidRequestError
from tests.support.oracle import slow_greedy
from tests.support.tiny import tiny_model, tiny_tokenizer

WEIGHTS = [-1.0, 2.0]
FAMILIES = ["llama", "mistral", "qwen2", "qwen3", "gemma2", "gpt_neox", "phi"]


class Recording(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, function, _types, args=(), kwargs=None):
        if function is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("A value was read on the host, which no graph can hold.")
        result = function(*args, **(kwargs or {}))
        self.operations.append((function, args, kwargs or {}, result))
        return result


def capture_operations(step):
    with Recording() as recording:
        logits = step()

    def replay():
        for function, args, kwargs, result in recording.operations:
            again = function(*args, **kwargs)
            for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                # Views and results in place are the same memory already.
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)
        counts.replays += 1
        return logits

    counts.captures += 1
    return replay


class counts:  # noqa: N801 - what the capture has done
    captures = 0
    replays = 0


@pytest.fixture(autouse=True)
def count_from_zero():
    counts.captures = counts.replays = 0


def request(base, pref, tokens=30):
    return GenerationRequest(
        contexts=[base, pref],
        weights=WEIGHTS,
        sampling=SamplingParams(max_new_tokens=tokens),
    )


def captured_graphs(engine):
    return engine.backend.captured_graphs


def engine_of(model, capture=capture_operations, **limits):
    engine = LocalEngine(model, tiny_tokenizer(), prompt_lookup_num_tokens=0, **limits)
    engine.backend.use_graphs(capture)
    return engine


@pytest.mark.parametrize("model_type", FAMILIES)
def test_replayed_steps_give_the_tokens_of_the_model(model_type):
    base, pref = [5, 6, 7], [8, 9]
    expected = slow_greedy(tiny_model(model_type), [base, pref], WEIGHTS, 50)
    with engine_of(tiny_model(model_type)) as engine:
        assert engine.generate([request(base, pref, 50)])[0].token_ids == expected
    assert counts.replays > 10


def test_requests_that_come_and_go_change_nothing():
    model = tiny_model()
    requests = [
        request([5 + n, 6, 7], [8, 9 + n], tokens) for n, tokens in enumerate((60, 12, 25, 9))
    ]
    expected = [
        slow_greedy(model, [*each.contexts], WEIGHTS, each.sampling.max_new_tokens)
        for each in requests
    ]
    with engine_of(model) as engine:
        streams = [engine.stream(requests[0])]
        tokens = [[*next(streams[0]).token_ids]]
        streams += [engine.stream(each) for each in requests[1:]]
        tokens += [[] for _ in requests[1:]]
        for index in (2, 1, 0, 3):
            tokens[index] += [token for each in streams[index] for token in each.token_ids]
    assert tokens == expected
    assert counts.captures >= 2
    assert counts.replays > 10


def test_a_longer_text_is_captured_again_in_its_new_allocation():
    model = tiny_model()
    expected = slow_greedy(model, [[5, 6], [7]], WEIGHTS, 120)
    with engine_of(model) as engine:
        assert engine.generate([request([5, 6], [7], 120)])[0].token_ids == expected
    assert counts.captures > 1
    assert counts.replays > 100


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("operation not permitted when stream is capturing"),
        torch.OutOfMemoryError("CUDA out of memory; not permitted"),
    ],
    ids=["cannot", "no memory"],
)
def test_what_cannot_be_captured_is_decoded_without_graphs(error, caplog):
    tries = []

    def failing_capture(step):
        tries.append(1)
        step()
        raise error

    model = tiny_model()
    expected = slow_greedy(model, [[5, 6], [7]], WEIGHTS, 30)
    with engine_of(model, failing_capture) as engine:
        results = [engine.generate([request([5, 6], [7])])[0] for _ in range(2)]
    assert [result.token_ids for result in results] == [expected] * 2
    assert len(tries) == 1
    assert "not permitted" in caplog.text


def test_graphs_are_dropped_first_where_memory_is_short():
    model = tiny_model()
    requests = [request([5 + n, 6], [7], 40) for n in range(2)]
    with engine_of(model, max_prefix_tokens=0) as engine:
        decode, held = engine.backend.decode, []

        def short_of_memory(cache, inputs, logits_to_keep):
            if counts.replays == 10 and not held:
                held.append(captured_graphs(engine))
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return decode(cache, inputs, logits_to_keep)

        engine.backend.decode = short_of_memory
        results = engine.generate(requests)
    assert held == [1]
    for each, result in zip(requests, results, strict=True):
        assert result.token_ids == slow_greedy(model, [*each.contexts], WEIGHTS, 40)


def test_no_graph_is_held_once_nobody_decodes():
    with engine_of(tiny_model()) as engine:
        engine.generate([request([5, 6], [7], 40)])
        engine.generate([request([5, 6], [7], 1)])
        run_on_worker(int)  # the step that drops them has been done
        assert counts.captures
        assert not captured_graphs(engine)


def test_scoring_leaves_graphs_alone():
    with engine_of(tiny_model()) as engine:
        stream = engine.stream(request([5, 6], [7], 90))
        for count, _ in enumerate(stream):
            if count in {10, 12, 14, 16}:
                engine.score([[5, 6], [7]], [8, 9, 10])
    assert counts.captures <= 3  # one for each allocation that the text outgrew


def test_the_least_recently_used_graph_is_dropped():
    model = tiny_model()
    graphs = CudaGraphRunner(model, ForwardPass(model, Batching.MIXED), capture_operations)
    cache = RowCache()
    cache.add(6)
    with torch.inference_mode():
        backend = TransformersBackend(model, tiny_tokenizer())
        backend.forward(cache, [RowInput(row, [5 + row]) for row in range(6)])
        for _ in range(3):
            for rows in range(1, 7):
                graphs.decode(cache, [9] * rows)
    assert counts.captures == 6
    assert graphs.captured == 4
    with torch.inference_mode():
        assert graphs.decode(cache, [9]) is None  # it was evicted


def test_models_with_masks_of_their_own_are_not_captured(caplog):
    model = tiny_model("bloom")
    expected = slow_greedy(model, [[5, 6], [7]], WEIGHTS, 10)
    with engine_of(model) as engine:
        assert engine.generate([request([5, 6], [7], 10)])[0].token_ids == expected
    assert counts.captures == 0
    assert "without CUDA graphs" in caplog.text


def test_a_model_on_the_cpu_is_refused():
    with pytest.raises(InvalidRequestError, match=r"one CUDA device; this one is on cpu"):
        LocalEngine(tiny_model(), tiny_tokenizer(), cuda_graphs=True)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_gpu_replays_what_it_computes(model_type):
    requests = [request([5 + n, 6, 7], [8, 9], 60) for n in range(3)]
    with LocalEngine(tiny_model(model_type).to("cuda"), tiny_tokenizer()) as engine:
        expected = engine.generate(requests)
    with LocalEngine(
        tiny_model(model_type).to("cuda"), tiny_tokenizer(), cuda_graphs=True
    ) as engine:
        assert engine.generate(requests) == expected
        assert captured_graphs(engine)
