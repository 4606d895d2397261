"""The fastest kernel for every number of rows, measured when a model is loaded.

One choice holds for all layers of a model: the times are those of a sample of them.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple, TypeGuard

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from amulet_integrations.engine.linear_kernels import KERNELS, PLAIN, Kernel, Product, use_kernels
from amulet_integrations.engine.memory import available_memory

_MEASURED_ROWS = (1, 2, 16, 64)  # one for each bucket
_CLEARLY = 0.9  # of the time, since one measurement differs from the next
_LEAST_ROUNDS, _MOST_ROUNDS = 2, 6
_ENOUGH_SECONDS = 0.05
_SAME_SHAPE = 3
_SAMPLE_WEIGHTS = 1 << 21


class Sample(NamedTuple):
    """A layer, or the first outputs of a large one, that stands for others of its shape."""

    weight: Tensor
    bias: Tensor | None
    stands_for: float


@torch.inference_mode()
def speed_up_linear(model: PreTrainedModel, *, pack_weights: bool = True) -> None:
    """Makes the linear layers of a model on the CPU multiply in the fastest way.

    Args:
        model: Its weights must not change any more.
        pack_weights: Whether a way may be taken that keeps a second copy of the weights. It is
            not, whatever is said here, where memory is short.
    """
    by_dtype: defaultdict[torch.dtype, list[nn.Linear]] = defaultdict(list)
    for layer in model.modules():
        if _is_plain(layer):
            by_dtype[layer.weight.dtype].append(layer)
    for dtype, layers in by_dtype.items():
        copies = pack_weights and _has_room(layers)
        kernels = [
            kernel for kernel in KERNELS if dtype in kernel.dtypes and (copies or not kernel.copies)
        ]
        if len(kernels) > 1:
            seconds = measure(sample(layers), kernels)
            use_kernels(layers, [choose(of_bucket) for of_bucket in seconds])


def choose(seconds: Mapping[Kernel, float]) -> Kernel:
    """The kernel for one number of rows.

    Args:
        seconds: How long each one takes; those that cost more memory come later, and have to be
            faster by a clear margin than those before.
    """
    best = PLAIN
    for kernel, taken in seconds.items():
        if taken < _CLEARLY * seconds[best]:
            best = kernel
    return best


def sample(layers: Sequence[nn.Linear]) -> list[Sample]:
    """A few layers of every shape."""
    by_shape: defaultdict[torch.Size, list[nn.Linear]] = defaultdict(list)
    for layer in layers:
        by_shape[layer.weight.shape].append(layer)
    return [
        _first_outputs(layer, len(alike) / len(alike[:_SAME_SHAPE]))
        for alike in by_shape.values()
        for layer in alike[:_SAME_SHAPE]
    ]


def measure(samples: Sequence[Sample], kernels: Sequence[Kernel]) -> list[dict[Kernel, float]]:
    """Seconds that all layers take with each kernel, for each bucket of rows.

    A kernel that this build of torch or this processor lacks is left out.
    """
    products: dict[Kernel, list[Product]] = {}
    for kernel in kernels:
        with suppress(RuntimeError, AttributeError):
            prepared = [kernel.prepare(weight, bias) for weight, bias, _ in samples]
            for (weight, *_), product in zip(samples, prepared, strict=True):
                product(weight.new_ones(1, weight.shape[1]))
            products[kernel] = prepared
    return [_pass_seconds(samples, products, rows) for rows in _MEASURED_ROWS]


def _pass_seconds(
    samples: Sequence[Sample], products: Mapping[Kernel, Sequence[Product]], rows: int
) -> dict[Kernel, float]:
    inputs = [weight.new_ones(rows, weight.shape[1]) for weight, *_ in samples]
    best = {kernel: [float("inf")] * len(samples) for kernel in products}
    spent = dict.fromkeys(products, 0.0)
    # One layer after the other, as in a model, so that none is still in the processor's cache;
    # and the kernels in turn, so that what else the machine does meets them all.
    for done in range(_MOST_ROUNDS):
        for kernel, prepared in products.items():
            if done >= _LEAST_ROUNDS and spent[kernel] > _ENOUGH_SECONDS:
                continue
            for index, product in enumerate(prepared):
                taken = _seconds(product, inputs[index])
                spent[kernel] += taken
                best[kernel][index] = min(best[kernel][index], taken)
    return {
        kernel: sum(taken * each.stands_for for taken, each in zip(times, samples, strict=True))
        for kernel, times in best.items()
    }


def _seconds(product: Product, inputs: Tensor) -> float:
    started = time.perf_counter()
    product(inputs)
    return time.perf_counter() - started


def _first_outputs(layer: nn.Linear, alike: float) -> Sample:
    outputs = max(1, min(layer.out_features, _SAMPLE_WEIGHTS // layer.in_features))
    bias = None if layer.bias is None else layer.bias[:outputs]
    return Sample(layer.weight[:outputs], bias, alike * layer.out_features / outputs)


def _is_plain(layer: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether it is a linear layer and nothing more: not quantized, not wrapped, on the CPU."""
    return (
        type(layer) is nn.Linear
        and type(layer.weight) is nn.Parameter
        and type(layer.weight.data) is Tensor
        and layer.weight.device.type == "cpu"
        and layer.weight.numel() > 0
        and "forward" not in vars(layer)
    )


def _has_room(layers: Sequence[nn.Linear]) -> bool:
    """Whether memory holds a second copy of the weights, and twice as much beside it."""
    free = available_memory()
    return free is not None and free >= 3 * sum(layer.weight.nbytes for layer in layers)
