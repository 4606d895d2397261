"""Float32 products of two to four rows, which some CPUs' libraries do at half speed.

A request of two contexts is a batch of two rows, and on AMD processors MKL multiplies two rows in
twice the time of one, though both read the weights once. The same product the other way round,
weights times columns, takes another path there and costs no more than one row. Which way is
faster is measured when a model is loaded.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import PreTrainedModel

_FEW = range(2, 5)
_ROUNDS = 5


@torch.inference_mode()
def speed_up_few_rows(model: PreTrainedModel) -> None:
    """Makes the linear layers of a float32 model on the CPU multiply few rows the faster way."""
    layers = [
        layer
        for layer in model.modules()
        if type(layer) is nn.Linear
        and layer.weight.dtype == torch.float32
        and layer.weight.device.type == "cpu"
    ]
    if layers and _columns_are_faster(max(layers, key=lambda layer: layer.weight.numel()).weight):
        for layer in layers:
            # On the instance, so that nothing about the model's structure changes.
            layer.forward = partial(few_rows_linear, layer)  # type: ignore[method-assign]


def few_rows_linear(layer: nn.Linear, inputs: Tensor) -> Tensor:
    """What `layer` computes: inputs (..., in_features) to (..., out_features)."""
    rows = inputs.reshape(-1, inputs.shape[-1])
    if rows.shape[0] not in _FEW:
        return linear(inputs, layer.weight, layer.bias)
    # Contiguous: attention leaves its fast path for anything else.
    outputs = torch.mm(layer.weight, rows.t()).t().contiguous()
    if layer.bias is not None:
        outputs = outputs + layer.bias
    return outputs.view(*inputs.shape[:-1], -1)


def _columns_are_faster(weight: Tensor) -> bool:
    rows = torch.ones(_FEW.start, weight.shape[1])
    as_rows = _best_seconds(lambda: linear(rows, weight))
    as_columns = _best_seconds(lambda: torch.mm(weight, rows.t()))
    return as_columns < 0.9 * as_rows


def _best_seconds(product: Callable[[], Tensor]) -> float:
    seconds = []
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        product()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
