"""Every kernel multiplies as the layer does, and the fastest one is taken for the right rows."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from amulet_integrations import SamplingParams
from amulet_integrations.engine import GenerationRequest, LocalEngine
from amulet_integrations.engine.backends.transformers.cpu import kernel_choice
from amulet_integrations.engine.backends.transformers.cpu.kernel_choice import (
    choose,
    measure,
    sample,
    speed_up_linear,
)
from amulet_integrations.engine.backends.transformers.cpu.linear_groups import (
    linear_groups,
    use_kernels,
)
from amulet_integrations.engine.backends.transformers.cpu.linear_kernels import (
    BUCKETS,
    COLUMNS,
    FLOAT16,
    KERNELS,
    PACKED,
    PLAIN,
    Kernel,
)
from tests.support.oracle import slow_greedy
from tests.support.tiny import tiny_model, tiny_tokenizer

INPUTS = [(6,), (0, 6), (1, 6), (2, 6), (4, 6), (5, 6), (16, 6), (17, 6), (70, 6)]
INPUTS += [(2, 1, 6), (2, 9, 6), (0, 3, 6), (2, 0, 6)]
TOLERANCES = {torch.float32: 1e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


def _raises(weight, bias):
    raise RuntimeError


def _runs(kernel, dtype):
    """Whether this build of torch has it for this processor."""
    layer = nn.Linear(4, 4, dtype=dtype)
    return kernel in measure(sample([(layer,)]), [kernel])[0]


CASES = [
    pytest.param(kernel, dtype, id=f"{kernel.name}-{dtype}")
    for kernel in KERNELS
    for dtype in sorted(kernel.dtypes, key=str)
]


@pytest.fixture
def no_copies_missing(monkeypatch):
    monkeypatch.setattr(kernel_choice, "available_memory", lambda: 1 << 40)


def check(layer, inputs, kernel):
    if not _runs(kernel, layer.weight.dtype):
        pytest.skip(f"no {kernel.name} here")
    exact = inputs.double() @ layer.weight.double().t()
    if layer.bias is not None:
        exact += layer.bias.double()
    use_kernels([(layer,)], [kernel] * (len(BUCKETS) + 1))
    with torch.inference_mode():
        outputs = layer(inputs)
    assert outputs.is_contiguous()
    assert outputs.dtype == layer.weight.dtype
    tolerance = TOLERANCES[outputs.dtype]
    torch.testing.assert_close(outputs.double(), exact, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", INPUTS, ids=str)
@pytest.mark.parametrize(("kernel", "dtype"), CASES)
def test_the_outputs_are_those_of_the_layer(kernel, dtype, shape, bias):
    torch.manual_seed(0)
    check(nn.Linear(6, 9, bias=bias, dtype=dtype), torch.randn(shape, dtype=dtype), kernel)


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (64, 129), (576, 192)], ids=str)
@pytest.mark.parametrize(("kernel", "dtype"), CASES)
def test_of_layers_of_any_shape(kernel, dtype, size):
    torch.manual_seed(1)
    check(nn.Linear(*size, dtype=dtype), torch.randn(3, size[0], dtype=dtype), kernel)


@pytest.mark.parametrize(("kernel", "dtype"), CASES)
def test_inputs_may_lie_in_memory_as_they_like(kernel, dtype):
    torch.manual_seed(2)
    stored = torch.randn(8, 5, 12, dtype=dtype)
    for inputs in (stored[:, :, ::2], stored[..., :6].transpose(0, 1), stored[:, 0, 6:]):
        check(nn.Linear(6, 9, dtype=dtype), inputs, kernel)


@pytest.mark.parametrize(("kernel", "dtype"), CASES)
def test_a_head_tied_to_the_embeddings_stays_tied(kernel, dtype):
    model = tiny_model(tie_word_embeddings=True).to(dtype)
    before = model.model.embed_tokens.weight.clone()
    check(model.lm_head, torch.randn(2, 32, dtype=dtype), kernel)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert torch.equal(model.lm_head.weight, before)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_weights_that_float16_cannot_hold_are_not_put_into_it(scale):
    layer = nn.Linear(6, 9, bias=False, dtype=torch.bfloat16)
    layer.weight.data.mul_(scale)
    inputs = torch.randn(5, 6, dtype=torch.bfloat16)
    expected = layer(inputs)
    use_kernels([(layer,)], [FLOAT16] * 4)
    assert torch.equal(layer(inputs), expected)


def named(name):
    """A kernel whose products return its own number."""
    number = float(name)
    return Kernel(
        name, PLAIN.dtypes, lambda weight, _: lambda rows: rows.new_full((len(rows), 1), number)
    )


@pytest.mark.parametrize(
    ("rows", "bucket"),
    [(0, 0), (1, 0), (2, 1), (4, 1), (5, 2), (16, 2), (17, 3), (64, 3), (1000, 3)],
)
def test_the_number_of_rows_decides(rows, bucket):
    layer = nn.Linear(3, 1)
    use_kernels([(layer,)], [named(str(number)) for number in range(4)])
    assert layer(torch.ones(rows, 3)).tolist() == [[bucket]] * rows


@pytest.mark.parametrize(
    ("seconds", "choice"),
    [
        ({PLAIN: 1.0}, PLAIN),
        ({PLAIN: 1.0, COLUMNS: 0.95, PACKED: 0.91}, PLAIN),  # no clear margin
        ({PLAIN: 1.0, COLUMNS: 0.8, PACKED: 0.75}, COLUMNS),  # not worth a copy
        ({PLAIN: 1.0, COLUMNS: 0.8, PACKED: 0.5}, PACKED),
        ({PLAIN: 1.0, COLUMNS: 1.3, PACKED: 0.85}, PACKED),
        ({PLAIN: 1.0, FLOAT16: 0.2}, FLOAT16),
    ],
)
def test_another_kernel_has_to_be_clearly_faster(seconds, choice):
    assert choose(seconds) is choice


def test_a_kernel_that_is_missing_is_left_out():
    missing = Kernel("missing", PLAIN.dtypes, _raises)
    no_such_operator = Kernel(
        "unknown", PLAIN.dtypes, lambda weight, _: torch.ops.mkldnn.no_such_operator(weight)
    )
    layer = nn.Linear(4, 4)
    for seconds in measure(sample([(layer,)]), [PLAIN, missing, no_such_operator]):
        assert list(seconds) == [PLAIN]


def test_a_sample_stands_for_all_layers():
    layers = [nn.Linear(8, 4) for _ in range(7)] + [nn.Linear(4, 1 << 20)]
    samples = sample([*((layer,) for layer in layers[2:]), tuple(layers[:2])])
    stood_for = sum(each.stands_for * each.weight.numel() for each in samples)
    assert stood_for == sum(layer.weight.numel() for layer in layers)
    assert sum(each.weight.numel() for each in samples) < 3 << 20


def kernels_of(model, monkeypatch, **options):
    """The kernels that are measured."""
    measured = []
    monkeypatch.setattr(
        kernel_choice, "measure", lambda samples, kernels: measured.extend(kernels) or []
    )
    monkeypatch.setattr(kernel_choice, "use_kernels", lambda layers, kernels: None)
    speed_up_linear(model, **options)
    return measured


def test_every_type_has_its_kernels(monkeypatch, no_copies_missing):
    model = tiny_model()
    assert kernels_of(model, monkeypatch) == [PLAIN, COLUMNS, PACKED]
    assert kernels_of(model.to(torch.bfloat16), monkeypatch) == [PLAIN, FLOAT16]
    assert kernels_of(model.to(torch.float64), monkeypatch) == []
    assert kernels_of(model.to("meta"), monkeypatch) == []


def test_weights_are_copied_only_where_that_is_wanted(monkeypatch, no_copies_missing):
    assert kernels_of(tiny_model(), monkeypatch, pack_weights=False) == [PLAIN, COLUMNS]
    half = tiny_model().to(torch.float16)
    assert kernels_of(half, monkeypatch, pack_weights=False) == []


@pytest.mark.parametrize("free", [None, 0, 10_000])
def test_and_where_memory_is_plenty(monkeypatch, free):
    monkeypatch.setattr(kernel_choice, "available_memory", lambda: free)
    assert kernels_of(tiny_model(), monkeypatch) == [PLAIN, COLUMNS]


def test_layers_that_are_more_than_linear_are_left_alone(monkeypatch, no_copies_missing):
    class Wrapped(nn.Linear):
        pass

    wrapped, patched, plain = Wrapped(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
    patched.forward = len
    monkeypatch.setattr(kernel_choice, "choose", lambda seconds: COLUMNS)
    speed_up_linear(nn.Sequential(wrapped, patched, plain))
    assert "forward" not in vars(wrapped)
    assert patched.forward is len
    assert "forward" in vars(plain)


@pytest.mark.parametrize("kernel", [PLAIN, COLUMNS, PACKED], ids=lambda kernel: kernel.name)
def test_models_decode_the_same_with_each(kernel):
    if not _runs(kernel, torch.float32):
        pytest.skip(f"no {kernel.name} here")
    model = tiny_model()
    use_kernels(linear_groups(model), [kernel] * 4)
    contexts, weights = [[5, 6, 7], [8, 9], [10]], [-1.0, 0.5, 1.5]
    request = GenerationRequest(
        contexts=contexts, weights=weights, sampling=SamplingParams(max_new_tokens=20)
    )
    with LocalEngine(model, tiny_tokenizer()) as engine:
        assert engine.generate([request])[0].token_ids == slow_greedy(
            tiny_model(), contexts, weights, 20
        )
