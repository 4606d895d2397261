"""Linear layers of one input, multiplied at once.

Attention multiplies the same states by three weights, a gated feed-forward part by two. Placed one
below the other they are one weight, whose single product takes less time than theirs: every
product has to wake the processor's cores and wait for the last of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import TypeGuard

import torch
from torch import Tensor, nn

from amulet_integrations.engine.backends.cpu.linear_kernels import (
    PLAIN,
    BucketedProduct,
    Kernel,
    fitting_kernels,
)

LinearGroup = tuple[nn.Linear, ...]
"""Layers that are given the same inputs, of one type and width; or one layer."""

_ONE_INPUT = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


def linear_groups(model: nn.Module) -> list[LinearGroup]:
    """The linear layers of a model that are on the CPU and nothing more than linear layers."""
    groups: list[LinearGroup] = []
    grouped: set[int] = set()
    for module in model.modules():
        for group in _of_one_input(module):
            ids = {id(layer) for layer in group}
            if not ids & grouped:
                groups.append(group)
                grouped |= ids
    alone = (layer for layer in model.modules() if _is_plain(layer) and id(layer) not in grouped)
    return [*groups, *((layer,) for layer in alone)]


@torch.no_grad()
def use_kernels(groups: Iterable[LinearGroup], kernels: Sequence[Kernel]) -> None:
    """Makes layers multiply with these kernels, one for each bucket, groups at once.

    A kernel that is not exact enough for a layer is replaced by torch's own there, and a group with
    such a layer is not multiplied at once.
    """
    if set(kernels) == {PLAIN}:
        return
    for group in groups:
        fitting = [fitting_kernels(layer.weight, kernels) for layer in group]
        if len(group) > 1 and fitting == [list(kernels)] * len(group):
            _multiply_at_once(group, kernels)
            continue
        for layer, own in zip(group, fitting, strict=True):
            weight, bias = _joined((layer,))
            # On the instance, so that nothing about the model's structure changes.
            layer.forward = BucketedProduct(weight, bias, own)  # type: ignore[assignment,method-assign]


class SharedProduct:
    """The outputs of a group, computed when the first of its layers is called.

    Args:
        product: With the joined weights.
        sizes: Outputs of each layer.
    """

    def __init__(self, product: BucketedProduct, sizes: Sequence[int]) -> None:
        self._product = product
        self._sizes = list(sizes)
        # In one piece, so that no thread ever sees another's outputs beside its own inputs.
        self._computed: tuple[Tensor, dict[int, Tensor]] | None = None

    def __call__(self, index: int, inputs: Tensor) -> Tensor:
        """Inputs (..., in) to the outputs (..., out) of one layer."""
        of, outputs = self._computed or (None, {})
        if of is not inputs or index not in outputs:
            outputs = dict(enumerate(self._product(inputs).split(self._sizes, dim=-1)))
        left = {other: output for other, output in outputs.items() if other != index}
        self._computed = (inputs, left) if left else None
        return outputs[index].contiguous()


def _multiply_at_once(group: LinearGroup, kernels: Sequence[Kernel]) -> None:
    weight, bias = _joined(group)
    product = BucketedProduct(weight, bias, kernels)
    if not all(kernel.copies for kernel in kernels):
        _put_into(weight, group)
    shared = SharedProduct(product, [layer.out_features for layer in group])
    for index, layer in enumerate(group):
        layer.forward = partial(shared, index)  # type: ignore[method-assign]


def _of_one_input(module: nn.Module) -> Iterator[LinearGroup]:
    for names in _ONE_INPUT:
        layers = (getattr(module, name, None) for name in names)
        group = tuple(layer for layer in layers if _is_plain(layer))
        alike = {(each.in_features, each.weight.dtype, each.bias is None) for each in group}
        if len({id(layer) for layer in group}) == len(names) and len(alike) == 1:
            yield group


def _joined(group: LinearGroup) -> tuple[Tensor, Tensor | None]:
    """Weight (out, in) and bias (out,) of all layers of a group, one below the other."""
    if len(group) == 1:
        bias = group[0].bias
        return group[0].weight.data, None if bias is None else bias.data
    weight = torch.cat([layer.weight.data for layer in group])
    biases = [layer.bias.data for layer in group if layer.bias is not None]
    return weight, torch.cat(biases) if biases else None


def _put_into(weight: Tensor, group: LinearGroup) -> None:
    """Lets the layers' own weights be parts of the joined one, so that memory holds them once."""
    sizes = [layer.out_features for layer in group]
    for layer, part in zip(group, weight.split(sizes), strict=True):
        layer.weight.data = part


def _is_plain(layer: object) -> TypeGuard[nn.Linear]:
    """Whether it is a linear layer and nothing more: not quantized, not wrapped, on the CPU."""
    return (
        type(layer) is nn.Linear
        and type(layer.weight) is nn.Parameter
        and type(layer.weight.data) is Tensor
        and layer.weight.device.type == "cpu"
        and layer.weight.numel() > 0
        and "forward" not in vars(layer)
    )
