"""Linear layers of the same input, fused into one product.

Attention multiplies the same states by three weights, and a gated feed-forward block by two. One
product with their concatenation takes less time, because every product has to wake the processor's
cores and wait for the last of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import TypeGuard

import torch
from torch import Tensor, nn

from .linear_kernels import PLAIN, BucketedProduct, Kernel

LinearGroup = tuple[nn.Linear, ...]
"""Layers with the same input, dtype and width; or a single layer."""

_SHARED_INPUT = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


def linear_groups(model: nn.Module) -> list[LinearGroup]:
    """Returns the plain linear layers of a model that are on the CPU, in groups."""
    groups: list[LinearGroup] = []
    grouped: set[int] = set()
    for module in model.modules():
        for group in _groups_of(module):
            ids = {id(layer) for layer in group}
            if not ids & grouped:
                groups.append(group)
                grouped |= ids
    alone = (layer for layer in model.modules() if _is_plain(layer) and id(layer) not in grouped)
    return [*groups, *((layer,) for layer in alone)]


@torch.no_grad()
def use_kernels(groups: Iterable[LinearGroup], kernels: Sequence[Kernel]) -> None:
    """Makes layers multiply with these kernels, one for each bucket, and fuses groups.

    If a kernel is not exact enough for a layer, torch's own takes its place, and the layer's group
    is not fused.
    """
    if set(kernels) == {PLAIN}:
        return
    for group in groups:
        fitting = [
            [kernel if kernel.fits(layer.weight) else PLAIN for kernel in kernels]
            for layer in group
        ]
        if len(group) > 1 and fitting == [list(kernels)] * len(group):
            _fuse(group, kernels)
            continue
        for layer, own in zip(group, fitting, strict=True):
            weight, bias = _concatenated((layer,))
            # On the instance, so that the structure of the model does not change.
            layer.forward = BucketedProduct(weight, bias, own)  # type: ignore[assignment,method-assign]


class SharedProduct:
    """The outputs of a fused group, computed when the first of its layers is called.

    Args:
        product: The product with the concatenated weights.
        sizes: The number of outputs of each layer.
    """

    def __init__(self, product: BucketedProduct, sizes: Sequence[int]) -> None:
        self._product = product
        self._sizes = list(sizes)
        # One tuple, so that no thread sees another's outputs together with its own inputs.
        self._computed: tuple[Tensor, dict[int, Tensor]] | None = None

    def __call__(self, index: int, inputs: Tensor) -> Tensor:
        """Multiplies inputs (..., in); returns the outputs (..., out) of one layer."""
        computed_for, outputs = self._computed or (None, {})
        if computed_for is not inputs or index not in outputs:
            outputs = dict(enumerate(self._product(inputs).split(self._sizes, dim=-1)))
        unused = {other: output for other, output in outputs.items() if other != index}
        self._computed = (inputs, unused) if unused else None
        return outputs[index].contiguous()


def _fuse(group: LinearGroup, kernels: Sequence[Kernel]) -> None:
    weight, bias = _concatenated(group)
    product = BucketedProduct(weight, bias, kernels)
    if not all(kernel.copies for kernel in kernels):
        _share_memory(weight, group)
    shared = SharedProduct(product, [layer.out_features for layer in group])
    for index, layer in enumerate(group):
        layer.forward = partial(shared, index)  # type: ignore[method-assign]


def _groups_of(module: nn.Module) -> Iterator[LinearGroup]:
    for names in _SHARED_INPUT:
        layers = (getattr(module, name, None) for name in names)
        group = tuple(layer for layer in layers if _is_plain(layer))
        alike = {(each.in_features, each.weight.dtype, each.bias is None) for each in group}
        if len({id(layer) for layer in group}) == len(names) and len(alike) == 1:
            yield group


def _concatenated(group: LinearGroup) -> tuple[Tensor, Tensor | None]:
    """Returns the concatenated weights (out, in) and biases (out,) of a group."""
    if len(group) == 1:
        bias = group[0].bias
        return group[0].weight.data, None if bias is None else bias.data
    weight = torch.cat([layer.weight.data for layer in group])
    biases = [layer.bias.data for layer in group if layer.bias is not None]
    return weight, torch.cat(biases) if biases else None


def _share_memory(weight: Tensor, group: LinearGroup) -> None:
    """Makes the layers' weights views of the concatenated one, so that they are held once."""
    sizes = [layer.out_features for layer in group]
    for layer, part in zip(group, weight.split(sizes), strict=True):
        layer.weight.data = part


def _is_plain(layer: object) -> TypeGuard[nn.Linear]:
    """Returns whether a module is a linear layer on the CPU, neither quantized nor wrapped."""
    return (
        type(layer) is nn.Linear
        and type(layer.weight) is nn.Parameter
        and type(layer.weight.data) is Tensor
        and layer.weight.device.type == "cpu"
        and layer.weight.numel() > 0
        and "forward" not in vars(layer)
    )
