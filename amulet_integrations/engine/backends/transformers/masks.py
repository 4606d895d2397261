"""Masks for rows of unequal length, of whatever kind a model asks transformers for.

A model's own code calls transformers' mask builders, and says for each layer which earlier tokens
are seen: all, those in a sliding window, those in a chunk. The builders count as if every row ended
at the last position. During a pass over rows of unequal length, they are given each row's own
positions instead. So a mask needs no knowledge of the model, and no setting is taken for its use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum
from functools import wraps
from typing import Any, TypeAlias

import torch
from torch import Tensor
from transformers import AttentionMaskInterface
from transformers.masking_utils import eager_mask, sdpa_mask

from .attention import GROUPED_SDPA

MaskBuilder: TypeAlias = Callable[..., Tensor | None]
"""A function of transformers that makes the mask of some layers."""

MaskFunction: TypeAlias = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Whether a key is seen, of the indices of row, head, query and key; they broadcast."""

_BUILDERS: dict[str, MaskBuilder] = {
    "sdpa": sdpa_mask,
    "eager": eager_mask,
    GROUPED_SDPA: sdpa_mask,
}


class Batching(StrEnum):
    """Which rows of unequal length can share a pass. Each value includes those after it."""

    MIXED = "mixed"
    """All: masks are built from each row's own positions."""

    SINGLE_TOKENS = "single_tokens"
    """Those that get one token each: a mask of the positions in use hides the rest."""

    EQUAL_LENGTHS = "equal_lengths"
    """None: every pass is of rows that are equally long."""


class MaskRequests:
    """The masks that a model asked for during a pass.

    Attributes:
        positions: The tokens' positions in their rows, (rows, new); None where all rows are alike.
        count: The number of masks.
        windows: The lengths of sliding windows and chunks among them, in tokens.
    """

    def __init__(self, positions: Tensor | None = None) -> None:
        self.positions = positions
        self.count = 0
        self.windows: set[int] = set()


_requests: ContextVar[MaskRequests | None] = ContextVar("mask_requests", default=None)


@contextmanager
def row_masks(positions: Tensor | None) -> Iterator[MaskRequests]:
    """Lets transformers build the masks of this thread's passes from each row's own positions.

    Args:
        positions: The new tokens' positions in their rows, (rows, new), on the model's device; 0
            for padding, which sees the first token only. None only records the requests.

    Raises:
        RuntimeError: The model did not ask transformers for a mask, so that it has others.
    """
    requests = MaskRequests(positions)
    token = _requests.set(requests)
    try:
        yield requests
    finally:
        _requests.reset(token)
    if positions is not None and not requests.count:
        raise RuntimeError("the model's masks are not those of transformers' mask builders")


def _for_rows(build: MaskBuilder) -> MaskBuilder:
    """Returns a mask builder that does as before, except within `row_masks`."""

    @wraps(build)
    def build_for_rows(*args: Any, **options: Any) -> Tensor | None:
        # A compiled graph is for any pass, and torch cannot trace a context variable.
        if torch.compiler.is_compiling() or (requests := _requests.get()) is None:
            return build(*args, **options)
        requests.count += 1
        if options.get("local_size"):
            requests.windows.add(int(options["local_size"]))
        if requests.positions is None:
            return build(*args, **options)
        sizes = options["batch_size"], options["q_length"]
        if sizes != requests.positions.shape:
            raise RuntimeError(f"a mask for {sizes} in a pass of {tuple(requests.positions.shape)}")
        seen = _at_positions(options["mask_function"], requests.positions, options["q_offset"])
        skips = {"allow_is_causal_skip": False, "allow_is_bidirectional_skip": False}
        return build(*args, **{**options, **skips, "mask_function": seen})

    return build_for_rows


def _at_positions(function: MaskFunction, positions: Tensor, offset: int) -> MaskFunction:
    """Returns a mask function that takes queries at the positions of their rows."""

    def seen(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return function(row, head, positions.to(query.device)[row, query - offset], key)

    return seen


for _name, _build in _BUILDERS.items():
    AttentionMaskInterface.register(_name, _for_rows(_build))
