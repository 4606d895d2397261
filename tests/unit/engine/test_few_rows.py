"""Products of few rows, done the other way round, are the same products."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from amulet_integrations import SamplingParams
from amulet_integrations.engine import GenerationRequest, LocalEngine, few_rows
from tests.support.oracle import slow_greedy
from tests.support.tiny import tiny_model, tiny_tokenizer


@pytest.mark.parametrize("shape", [(6,), (1, 6), (2, 6), (4, 6), (5, 6), (2, 1, 6), (2, 2, 6)])
@pytest.mark.parametrize("bias", [True, False])
def test_the_outputs_are_those_of_the_layer(shape, bias):
    layer = nn.Linear(6, 9, bias=bias)
    inputs = torch.randn(shape)
    outputs = few_rows.few_rows_linear(layer, inputs)
    assert outputs.is_contiguous()
    torch.testing.assert_close(outputs, layer(inputs))


@pytest.mark.parametrize("faster", [True, False])
def test_models_decode_the_same_either_way(monkeypatch, faster):
    monkeypatch.setattr(few_rows, "_columns_are_faster", lambda weight: faster)
    model = tiny_model()
    few_rows.speed_up_few_rows(model)
    assert ("forward" in vars(model.lm_head)) is faster
    contexts, weights = [[5, 6, 7], [8, 9], [10]], [-1.0, 0.5, 1.5]
    request = GenerationRequest(
        contexts=contexts, weights=weights, sampling=SamplingParams(max_new_tokens=20)
    )
    with LocalEngine(model, tiny_tokenizer()) as engine:
        assert engine.generate([request])[0].token_ids == slow_greedy(
            tiny_model(), contexts, weights, 20
        )


def test_half_precision_is_left_alone(monkeypatch):
    monkeypatch.setattr(few_rows, "_columns_are_faster", lambda weight: True)
    model = tiny_model().to(torch.bfloat16)
    few_rows.speed_up_few_rows(model)
    assert "forward" not in vars(model.lm_head)
