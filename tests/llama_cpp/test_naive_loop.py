"""Greedy tokens are those of a naive loop over llama.cpp, alone and in company."""

from __future__ import annotations

import numpy as np
import pytest
from transformers import AutoTokenizer

from amulet_integrations.engine import GenerationResult
from amulet_integrations.engine.backends.transformers.loading.embedded import embedded_model_path
from tests.contract.subjects import request_of, tiny_gguf
from tests.llama_cpp.engines import EXACT, QUESTIONS, asked, engine_of
from tests.llama_cpp.naive_loop import NaiveLoop


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(str(embedded_model_path()))


def staggered(engine, requests) -> list[GenerationResult]:
    """Each request joins when the one before it has its first tokens."""
    streams, begun = [], []
    for request in requests:
        stream = engine.stream(request)
        begun.append([next(stream), next(stream)])
        streams.append(stream)
    return [
        GenerationResult.fold([*first, *rest]) for first, rest in zip(begun, streams, strict=True)
    ]


def test_tokens_are_equal_where_nothing_is_rounded():
    naive = NaiveLoop(tiny_gguf(), type_k=0, type_v=0, flash_attn_type=0)
    requests = [
        request_of((7 + 40 * n, 3 + 30 * n), [-1.0, 2.0], seed=n, max_new_tokens=30)
        for n in range(6)
    ]
    with engine_of(tiny_gguf(), **EXACT) as engine:
        alone = [engine.generate([request])[0] for request in requests]
        engine.forget_prefixes()
        for results in (alone, engine.generate(requests), staggered(engine, requests)):
            for request, result in zip(requests, results, strict=True):
                policies = naive.log_policies(request.contexts, request.weights, result.token_ids)
                assert result.token_ids == policies.argmax(-1).tolist()
    naive.close()


@pytest.mark.parametrize("kind", ["F32", "Q8_0", "Q4_1", "Q4_0"])
def test_tokens_differ_only_within_the_tolerance(quantized, tokenizer, kind):
    naive = NaiveLoop(quantized(kind))
    different = total = 0
    with engine_of(quantized(kind), tokenizer) as engine:
        requests = [asked(engine, question) for question in QUESTIONS]
        bound = 2 * sum(map(abs, requests[0].weights)) * engine.backend.logits_tolerance
        alone = [engine.generate([request])[0] for request in requests]
        for results in (alone, staggered(engine, requests)):
            for request, result in zip(requests, results, strict=True):
                policies = naive.log_policies(request.contexts, request.weights, result.token_ids)
                chosen = policies[np.arange(len(policies)), result.token_ids]
                lost = policies.max(-1) - chosen
                assert (lost <= bound).all()
                different += int((lost > 0).sum())
                total += len(lost)
    naive.close()
    assert different <= total * (0.0 if kind == "F32" else 0.15)
