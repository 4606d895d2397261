"""Layers of one input are multiplied at once, and each gets what is its own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from amulet_integrations.engine.backends.transformers.cpu.linear_groups import (
    linear_groups,
    use_kernels,
)
from amulet_integrations.engine.backends.transformers.cpu.linear_kernels import (
    BUCKETS,
    COLUMNS,
    FLOAT16,
    PACKED,
    PLAIN,
)
from tests.support.tiny import tiny_model

EVERY_BUCKET = len(BUCKETS) + 1


class Attention(nn.Module):
    def __init__(self, *, bias=(False, False, False), sizes=(6, 6, 6)):
        super().__init__()
        torch.manual_seed(0)
        self.q_proj = nn.Linear(sizes[0], 9, bias=bias[0])
        self.k_proj = nn.Linear(sizes[1], 4, bias=bias[1])
        self.v_proj = nn.Linear(sizes[2], 5, bias=bias[2])


def names_of(model):
    """The names of the layers of every group."""
    names = {id(module): name.rpartition(".")[2] for name, module in model.named_modules()}
    return [tuple(names[id(layer)] for layer in group) for group in linear_groups(model)]


def test_layers_with_the_same_input_are_a_group():
    assert set(names_of(tiny_model())) == {
        ("q_proj", "k_proj", "v_proj"),
        ("gate_proj", "up_proj"),
        ("o_proj",),
        ("down_proj",),
        ("lm_head",),
    }


def test_every_layer_is_in_one_group():
    model = tiny_model()
    layers = [layer for group in linear_groups(model) for layer in group]
    assert {id(layer) for layer in layers} == {
        id(layer) for layer in model.modules() if type(layer) is nn.Linear
    }
    assert len(layers) == len({id(layer) for layer in layers})


def _one_is_wrapped():
    attention = Attention()
    attention.v_proj.forward = len
    return attention


def _one_stands_twice():
    attention = Attention()
    attention.v_proj = attention.k_proj
    return attention


@pytest.mark.parametrize(
    "attention",
    [
        Attention(bias=(True, True, False)),
        Attention(sizes=(6, 6, 7)),
        _one_is_wrapped(),
        _one_stands_twice(),
    ],
    ids=["some biases", "other widths", "wrapped", "shared"],
)
def test_what_does_not_fit_together_stays_apart(attention):
    assert all(len(group) == 1 for group in linear_groups(attention))


@pytest.mark.parametrize("kernel", [COLUMNS, PACKED], ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("order", ["qkv", "vkq", "q", "qqkv", "kq"])
@pytest.mark.parametrize("shape", [(1, 6), (3, 2, 6), (70, 6)], ids=str)
def test_each_layer_has_its_own_outputs_whoever_is_called_when(kernel, bias, order, shape):
    attention = Attention(bias=(bias,) * 3)
    layers = {name: getattr(attention, f"{name}_proj") for name in "qkv"}
    inputs = [torch.randn(shape) for _ in range(2)]
    expected = [{name: layer(each) for name, layer in layers.items()} for each in inputs]
    use_kernels(linear_groups(attention), [kernel] * EVERY_BUCKET)
    with torch.inference_mode():
        for each, outputs in zip(inputs * 2, expected * 2, strict=True):
            for name in order:
                found = layers[name](each)
                torch.testing.assert_close(found, outputs[name])
                assert found.is_contiguous()


def test_inputs_changed_in_content_are_multiplied_anew():
    attention = Attention()
    use_kernels(linear_groups(attention), [COLUMNS] * EVERY_BUCKET)
    inputs = torch.ones(2, 6)
    with torch.inference_mode():
        for layer in (attention.q_proj, attention.k_proj, attention.v_proj):
            layer(inputs)
        inputs.mul_(2)
        doubled = attention.q_proj(inputs)
    torch.testing.assert_close(doubled, inputs @ attention.q_proj.weight.t())


def test_nothing_is_kept_of_a_pass():
    attention = Attention()
    use_kernels(linear_groups(attention), [COLUMNS] * EVERY_BUCKET)
    layers = [attention.q_proj, attention.k_proj, attention.v_proj]
    inputs = torch.ones(2, 6)
    for layer in layers:
        layer(inputs)
    shared = layers[0].forward.func
    assert shared is layers[2].forward.func
    assert shared._computed is None


@pytest.mark.parametrize("mixed", [[PLAIN, COLUMNS, PACKED, PACKED], [COLUMNS] * 4])
def test_the_weights_are_held_once(mixed):
    attention = Attention()
    before = [layer.weight.clone() for layer in attention.children()]
    use_kernels(linear_groups(attention), mixed)
    weights = [layer.weight for layer in attention.children()]
    assert len({weight.untyped_storage().data_ptr() for weight in weights}) == 1
    assert all(torch.equal(*pair) for pair in zip(weights, before, strict=True))


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_a_layer_that_a_kernel_does_not_fit_is_multiplied_apart(scale):
    attention = Attention().to(torch.bfloat16)
    attention.v_proj.weight.data.mul_(scale)
    layers = [*attention.children()]
    inputs = torch.randn(3, 6, dtype=torch.bfloat16)
    expected = [layer(inputs) for layer in layers]
    use_kernels(linear_groups(attention), [FLOAT16] * EVERY_BUCKET)
    assert torch.equal(layers[2](inputs), expected[2])
    for layer, outputs in zip(layers[:2], expected[:2], strict=True):
        torch.testing.assert_close(layer(inputs), outputs, rtol=2e-2, atol=2e-2)


def test_a_layer_of_two_modules_is_in_one_group():
    first, second = Attention(), Attention()
    second.k_proj = first.k_proj
    groups = linear_groups(nn.ModuleList([first, second]))
    assert sorted(map(len, groups)) == [1, 1, 3]


def test_the_module_itself_is_no_copy_where_all_kernels_pack():
    attention = Attention()
    before = [layer.weight.data_ptr() for layer in attention.children()]
    use_kernels(linear_groups(attention), [PACKED] * 4)
    assert [layer.weight.data_ptr() for layer in attention.children()] == before


@pytest.mark.parametrize("model_type", ["llama", "qwen2", "qwen3", "mistral", "phi", "gemma2"])
@pytest.mark.parametrize("kernel", [COLUMNS, FLOAT16], ids=lambda kernel: kernel.name)
def test_models_compute_the_same(model_type, kernel):
    dtype = torch.float32 if kernel is COLUMNS else torch.float16
    changed = tiny_model(model_type).to(dtype)
    ids = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])
    use_kernels(linear_groups(changed), [kernel] * EVERY_BUCKET)
    with torch.inference_mode():
        expected = tiny_model(model_type).to(dtype)(ids).logits
        found = changed(ids).logits
    tolerance = 1e-4 if kernel is COLUMNS else 5e-2
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
