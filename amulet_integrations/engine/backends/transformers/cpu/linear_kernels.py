"""Kernels that multiply by a model's weights on the CPU.

Which one is fastest depends on the processor and on the number of rows. Processors without
arithmetic in bfloat16 or float16 take many times longer in those dtypes than in float32.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import linear

BUCKETS = (1, 4, 16)
"""The most rows of each bucket; the last bucket, which has no bound, is left out."""

Product = Callable[[Tensor], Tensor]
"""f(rows (rows, in)) -> (rows, out)."""


@dataclass(frozen=True)
class Kernel:
    """A way to multiply.

    Attributes:
        name: The name.
        dtypes: The dtypes of weights that it accepts.
        prepare: Makes the product with a weight (out, in) and a bias.
        copies: Whether it keeps a copy of the weights, as large as they are.
        fits: Returns whether it is as exact as torch's own with a weight.
    """

    name: str
    dtypes: frozenset[torch.dtype]
    prepare: Callable[[Tensor, Tensor | None], Product]
    copies: bool = False
    fits: Callable[[Tensor], bool] = lambda _weight: True


def _plain(weight: Tensor, bias: Tensor | None) -> Product:
    return lambda rows: linear(rows.to(weight.dtype), weight, bias).to(rows.dtype)


def _columns(weight: Tensor, bias: Tensor | None) -> Product:
    """Weights times columns: MKL's code for it is faster for few rows on AMD processors."""

    def product(rows: Tensor) -> Tensor:
        # Contiguous, because attention's fast path accepts nothing else.
        outputs = torch.mm(weight, rows.t()).t().contiguous()
        return outputs if bias is None else outputs.add_(bias)

    return product


def _packed(weight: Tensor, bias: Tensor | None) -> Product:
    """Keeps the weights in the order in which oneDNN reads them."""
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, BUCKETS[-1])  # noqa: SLF001
    multiply = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001
    return lambda rows: multiply(rows, packed, bias, "none", [], "")


def _float16(weight: Tensor, bias: Tensor | None) -> Product:
    """Keeps the weights in float16 and computes in float32 (FBGEMM)."""
    bias = None if bias is None else bias.float()
    packed = torch.ops.quantized.linear_prepack_fp16(weight.float(), bias)
    multiply = torch.ops.quantized.linear_dynamic_fp16
    return lambda rows: multiply(rows.float(), packed).to(rows.dtype)


def _fits_float16(weight: Tensor) -> bool:
    """Returns whether float16 holds the weights more exactly than bfloat16 holds the largest."""
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
"""All kernels. Those that take more memory come later."""


class BucketedProduct:
    """A product by a different kernel for each bucket of rows.

    Args:
        weight: The weight, (out, in). It must not change any more.
        bias: The bias, (out,).
        kernels: A kernel for each bucket that fits the weight.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, kernels: Sequence[Kernel]) -> None:
        products = {kernel: kernel.prepare(weight, bias) for kernel in dict.fromkeys(kernels)}
        self._products = [products[kernel] for kernel in kernels]
        self._out_features = weight.shape[0]

    def __call__(self, inputs: Tensor) -> Tensor:
        """Multiplies inputs (..., in); returns (..., out)."""
        rows = inputs.reshape(-1, inputs.shape[-1])
        product = self._products[bisect_left(BUCKETS, rows.shape[0])]
        return product(rows).view(*inputs.shape[:-1], self._out_features)
