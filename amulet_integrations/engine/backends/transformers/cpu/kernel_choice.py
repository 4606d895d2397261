"""Chooses the fastest kernel for every number of rows, measured when a model is loaded.

All layers of a model use the same choice; the times are those of a sample of them.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from amulet_integrations.engine.backends.transformers.activations import use_float32_activations
from amulet_integrations.engine.kv.memory_use import available_memory

from .linear_groups import LinearGroup, linear_groups, use_kernels
from .linear_kernels import FLOAT16, KERNELS, PLAIN, Kernel, Product

_MEASURED_ROWS = (1, 2, 16, 64)  # one for each bucket
_BOUND_BY_ARITHMETIC = 2  # from this bucket on
_CLEARLY = 0.9  # of the time, since one measurement differs from the next
_LEAST_ROUNDS, _MOST_ROUNDS = 2, 6
_ENOUGH_SECONDS = 0.05
_SAME_SHAPE = 3
_SAMPLE_WEIGHTS = 1 << 21


class Sample(NamedTuple):
    """The first outputs of a group of layers, which stands for others of its shape."""

    weight: Tensor
    bias: Tensor | None
    stands_for: float


@torch.no_grad()
def speed_up_linear(model: PreTrainedModel, *, pack_weights: bool = True) -> None:
    """Makes the linear layers of a model on the CPU multiply with the fastest kernels.

    Args:
        model: A model whose weights do not change any more.
        pack_weights: Whether kernels may be chosen that keep a second copy of the weights. They
            are never chosen if memory is short.
    """
    by_dtype: defaultdict[torch.dtype, list[LinearGroup]] = defaultdict(list)
    for group in linear_groups(model):
        by_dtype[group[0].weight.dtype].append(group)
    for dtype, groups in by_dtype.items():
        copies = pack_weights and _fits_in_memory(groups)
        kernels = [
            kernel for kernel in KERNELS if dtype in kernel.dtypes and (copies or not kernel.copies)
        ]
        if len(kernels) > 1:
            chosen = [choose(seconds) for seconds in measure(sample(groups), kernels)]
            use_kernels(groups, chosen)
            if FLOAT16 in chosen[_BOUND_BY_ARITHMETIC:]:
                use_float32_activations(model, [layer for group in groups for layer in group])


def choose(seconds: Mapping[Kernel, float]) -> Kernel:
    """Chooses the kernel for one number of rows.

    Args:
        seconds: The time that each kernel takes. Those that take more memory come later and have
            to be clearly faster than those before.
    """
    best = PLAIN
    for kernel, taken in seconds.items():
        if taken < _CLEARLY * seconds[best]:
            best = kernel
    return best


def sample(groups: Sequence[LinearGroup]) -> list[Sample]:
    """Returns a few groups of every shape."""
    by_shape: defaultdict[tuple[torch.Size, ...], list[LinearGroup]] = defaultdict(list)
    for group in groups:
        by_shape[tuple(layer.weight.shape for layer in group)].append(group)
    return [
        _first_outputs(group, len(alike) / len(alike[:_SAME_SHAPE]))
        for alike in by_shape.values()
        for group in alike[:_SAME_SHAPE]
    ]


def measure(samples: Sequence[Sample], kernels: Sequence[Kernel]) -> list[dict[Kernel, float]]:
    """Measures the seconds that all layers take with each kernel, for each bucket of rows.

    Kernels that this build of torch or this processor lacks are left out.
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
    # One layer after the other, as in a model, so that no weight is still in the processor's
    # cache. The kernels take turns, so that other load on the machine slows all of them.
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


def _first_outputs(group: LinearGroup, alike: float) -> Sample:
    width, all_outputs = group[0].in_features, sum(layer.out_features for layer in group)
    outputs = max(1, min(all_outputs, _SAMPLE_WEIGHTS // width))
    weight = torch.cat([layer.weight[:outputs] for layer in group])[:outputs]
    biases = [layer.bias[:outputs] for layer in group if layer.bias is not None]
    bias = torch.cat(biases)[:outputs] if biases else None
    return Sample(weight, bias, alike * all_outputs / outputs)


def _fits_in_memory(groups: Sequence[LinearGroup]) -> bool:
    """Returns whether memory holds a second copy of the weights, and twice as much beside it."""
    free = available_memory()
    weights = sum(layer.weight.nbytes for group in groups for layer in group)
    return free is not None and free >= 3 * weights
