"""The mixture of contexts: one matrix product for a whole batch of requests.

The weights of the contexts come from `guidance.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import numpy as np
import torch
from torch import Tensor


def mixing_matrix(weights: Sequence[Sequence[float]], device: torch.device | str = "cpu") -> Tensor:
    """Lays out the context weights of a batch of requests as one matrix.

    Args:
        weights: For each request, the weight of each of its contexts. The contexts of all requests
            are the rows of the batch, in order.
        device: The device of the matrix.

    Returns:
        Shape (requests, rows). Row r of the batch belongs to the one request with a weight in
        column r. float64 on CUDA, where a float32 product may be rounded to TF32; float32
        elsewhere.
    """
    dtype = torch.float64 if torch.device(device).type == "cuda" else torch.float32
    matrix = torch.zeros(len(weights), sum(map(len, weights)), dtype=dtype)
    column = 0
    for request, row in enumerate(weights):
        matrix[request, column : column + len(row)] = torch.tensor(row, dtype=dtype)
        column += len(row)
    return matrix.to(device)


def mix_contexts(logits: Tensor, matrix: Tensor) -> Tensor:
    """Mixes the contexts of every request of a batch at once.

    A policy is a weighted sum of its contexts' log-probabilities. Weights that add up to 1 make
    the logits do as well: what differs is one constant for each request, which a softmax drops.

    Args:
        logits: Logits of every context, shape (rows, vocab), any floating dtype. A token that is
            -inf in any context of a request is excluded from that request's policy.
        matrix: The weights, shape (requests, rows), from `mixing_matrix`.

    Returns:
        Logits of every request's policy, shape (requests, vocab), float32. Where a context of a
        request holds NaN or +inf, that request's row is NaN; no other request notices.
    """
    logits = logits.to(matrix.dtype)
    if logits.device.type == "cpu":
        mixed = matrix @ logits
        # One cheap reduction shows that all is finite; on a device it would stall. torch would wake
        # its other threads for it, which takes longer than the sum.
        with np.errstate(all="ignore"):
            if isfinite(np.add.reduce(mixed.detach().numpy(), axis=None)):
                return mixed
    return _mix_with_exclusions(logits, matrix).float()


def _mix_with_exclusions(logits: Tensor, matrix: Tensor) -> Tensor:
    member = (matrix != 0).to(matrix.dtype)
    excluded = torch.isneginf(logits)
    broken = ~(torch.isfinite(logits) | excluded).all(dim=-1)
    # 0 * inf is NaN, so nothing infinite may enter the product.
    mixed = matrix @ logits.masked_fill(excluded | broken[:, None], 0.0)
    mixed = mixed.masked_fill(member @ excluded.to(matrix.dtype) > 0, -torch.inf)
    return mixed.masked_fill((member @ broken.to(matrix.dtype) > 0)[:, None], torch.nan)
