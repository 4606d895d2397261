"""Ways to multiply by a model's weights on the CPU.

Which is fastest differs between processors, and with the number of rows. Processors without
arithmetic in bfloat16 or float16, above all, take many times longer in those than in float32.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import linear

BUCKETS = (1, 4, 16)
"""Most rows of each bucket but the last one, which has no end."""

Product = Callable[[Tensor], Tensor]
"""Rows (rows, in) to (rows, out)."""


def _anything(weight: Tensor) -> bool:  # noqa: ARG001
    return True


@dataclass(frozen=True)
class Kernel:
    """A way to multiply.

    Attributes:
        name: Tells it apart.
        dtypes: The weights it takes.
        prepare: Weight (out, in) and bias to the product with them.
        copies: Whether it keeps a copy of the weights, as large as they are.
        fits: Whether it is as exact as `torch` with these weights.
    """

    name: str
    dtypes: frozenset[torch.dtype]
    prepare: Callable[[Tensor, Tensor | None], Product]
    copies: bool = False
    fits: Callable[[Tensor], bool] = _anything


def _plain(weight: Tensor, bias: Tensor | None) -> Product:
    return lambda rows: linear(rows.to(weight.dtype), weight, bias).to(rows.dtype)


def _columns(weight: Tensor, bias: Tensor | None) -> Product:
    """Weights times columns: on AMD processors MKL takes another path there, better for few."""

    def product(rows: Tensor) -> Tensor:
        # Contiguous: attention leaves its fast path for anything else.
        outputs = torch.mm(weight, rows.t()).t().contiguous()
        return outputs if bias is None else outputs.add_(bias)

    return product


def _packed(weight: Tensor, bias: Tensor | None) -> Product:
    """The weights in the order in which oneDNN reads them."""
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, BUCKETS[-1])  # noqa: SLF001
    multiply = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001
    return lambda rows: multiply(rows, packed, bias, "none", [], "")


def _float16(weight: Tensor, bias: Tensor | None) -> Product:
    """Weights kept in float16, everything else in float32 (FBGEMM)."""
    bias = None if bias is None else bias.float()
    packed = torch.ops.quantized.linear_prepack_fp16(weight.float(), bias)
    multiply = torch.ops.quantized.linear_dynamic_fp16
    return lambda rows: multiply(rows.float(), packed).to(rows.dtype)


def _fits_float16(weight: Tensor) -> bool:
    """Whether float16 holds the weights with an error below that of bfloat16 at the largest."""
    if weight.dtype == torch.float16:
        return True
    least, most = torch.aminmax(weight)
    return 2.0**-10 < max(-float(least), float(most)) < torch.finfo(torch.float16).max


_FLOAT32 = frozenset({torch.float32})
_HALVES = frozenset({torch.bfloat16, torch.float16})

PLAIN = Kernel("plain", _FLOAT32 | _HALVES, _plain)
COLUMNS = Kernel("columns", _FLOAT32, _columns)
PACKED = Kernel("packed", _FLOAT32, _packed, copies=True)
FLOAT16 = Kernel("float16", _HALVES, _float16, copies=True, fits=_fits_float16)

KERNELS = (PLAIN, COLUMNS, PACKED, FLOAT16)
"""Those that cost more memory come later."""


def fitting_kernels(weight: Tensor, kernels: Sequence[Kernel]) -> list[Kernel]:
    """The same kernels, but torch's own where one is not exact enough for a weight."""
    return [kernel if kernel.fits(weight) else PLAIN for kernel in kernels]


class BucketedProduct:
    """A product with the same weights, by a kernel of its own for each bucket of rows.

    Args:
        weight: Shape (out, in). It must not change any more.
        bias: Shape (out,).
        kernels: One for each bucket, which fit the weight.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, kernels: Sequence[Kernel]) -> None:
        products = {kernel: kernel.prepare(weight, bias) for kernel in dict.fromkeys(kernels)}
        self._products = [products[kernel] for kernel in kernels]
        self._out_features = weight.shape[0]

    def __call__(self, inputs: Tensor) -> Tensor:
        """Inputs (..., in) to (..., out)."""
        rows = inputs.reshape(-1, inputs.shape[-1])
        product = self._products[bisect_left(BUCKETS, rows.shape[0])]
        return product(rows).view(*inputs.shape[:-1], self._out_features)
