"""Half-precision weights with float32 between them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from amulet_integrations import SamplingParams
from amulet_integrations.engine import GenerationRequest, LocalEngine
from amulet_integrations.engine.backends.transformers.activations import (
    activation_dtype,
    use_float32_activations,
)
from amulet_integrations.engine.backends.transformers.architecture_check import check_architecture
from amulet_integrations.engine.backends.transformers.cpu.linear_groups import (
    linear_groups,
    use_kernels,
)
from amulet_integrations.engine.backends.transformers.cpu.linear_kernels import BUCKETS, FLOAT16
from tests.support.oracle import slow_greedy
from tests.support.tiny import tiny_model, tiny_tokenizer

FAMILIES = ["llama", "qwen2", "qwen3", "mistral", "phi", "gemma2", "gpt_neox", "olmo2", "opt"]
HALVES = [torch.bfloat16, torch.float16]
IDS = torch.tensor([[5, 6, 7, 8, 9, 10], [11, 12, 13, 14, 15, 16]])
# Wide enough for norms and biases to be as small a part of the weights as in a real model.
WIDE = {"hidden_size": 128, "intermediate_size": 256}


def with_float32_between(model_type, dtype):
    model = tiny_model(model_type, **WIDE).to(dtype)
    groups = linear_groups(model)
    use_kernels(groups, [FLOAT16] * (len(BUCKETS) + 1))
    assert use_float32_activations(model, [layer for group in groups for layer in group])
    return model


def exact(model_type, dtype):
    """A model with the same weights, as rounded, that computes in float64."""
    return tiny_model(model_type, **WIDE).to(dtype).double()


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("model_type", FAMILIES)
@torch.inference_mode()
def test_the_logits_are_nearer_to_the_exact_ones_than_those_of_half_precision(model_type, dtype):
    true = exact(model_type, dtype)(IDS).logits
    logits = with_float32_between(model_type, dtype)(IDS).logits
    halves = tiny_model(model_type, **WIDE).to(dtype)(IDS).logits
    assert logits.dtype == torch.float32
    error, error_of_halves = (float((each - true).abs().max()) for each in (logits, halves))
    assert error < 0.5 * error_of_halves


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("model_type", ["llama", "gemma2", "gpt_neox"])
def test_requests_get_the_tokens_of_the_exact_model(model_type, dtype):
    contexts, weights = [[5, 6, 7], [8, 9]], [-1.0, 2.0]
    request = GenerationRequest(
        contexts=contexts, weights=weights, sampling=SamplingParams(max_new_tokens=12)
    )
    with LocalEngine(with_float32_between(model_type, dtype), tiny_tokenizer()) as engine:
        tokens = engine.generate([request])[0].token_ids
    assert tokens == slow_greedy(exact(model_type, dtype), contexts, weights, 12)


def bytes_per_token(model):
    return check_architecture(model).bytes_per_token


def test_keys_and_values_are_counted_as_what_they_are():
    changed = with_float32_between("llama", torch.bfloat16)
    assert activation_dtype(changed) == torch.float32
    assert bytes_per_token(changed) == bytes_per_token(tiny_model(**WIDE))
    untouched = tiny_model(**WIDE).to(torch.bfloat16)
    assert activation_dtype(untouched) == torch.bfloat16
    assert 2 * bytes_per_token(untouched) == bytes_per_token(changed)


def test_the_large_weights_stay_as_they_are():
    model = with_float32_between("llama", torch.bfloat16)
    kinds = {type(module): set() for module in model.modules()}
    for module in model.modules():
        kinds[type(module)] |= {each.dtype for each in module.parameters(recurse=False)}
    assert kinds[nn.Linear] == kinds[nn.Embedding] == {torch.bfloat16}
    assert model.dtype == torch.bfloat16


def test_a_model_with_products_of_its_own_is_left_alone():
    model = tiny_model("llama", **WIDE).to(torch.bfloat16)
    ids = torch.tensor([[5, 6]])
    expected = model(ids).logits
    mlp = model.model.layers[0].mlp
    mlp.forward = lambda inputs: mlp.down_proj(
        nn.functional.silu(inputs @ mlp.gate_proj.weight.t()) * mlp.up_proj(inputs)
    )
    layers = [layer for group in linear_groups(model) for layer in group]
    use_kernels(linear_groups(model), [FLOAT16] * (len(BUCKETS) + 1))
    assert not use_float32_activations(model, layers)
    assert activation_dtype(model) == torch.bfloat16
    torch.testing.assert_close(model(ids).logits, expected, rtol=0.1, atol=0.5)


def test_a_model_whose_large_weights_are_elsewhere_is_left_alone():
    model = tiny_model("gpt2", **WIDE).to(torch.bfloat16)
    layers = [layer for group in linear_groups(model) for layer in group]
    assert not use_float32_activations(model, layers)
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    assert model(IDS).logits.dtype == torch.bfloat16
