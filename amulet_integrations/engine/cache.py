"""Keys and values of the running rows, written in place.

transformers' `DynamicCache` copies the whole cache at every token; this one writes each token's
keys and values into room kept ahead, so that a step costs the same however long the text is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin


def _roomy(length: int) -> int:
    """Positions to make room for: some ahead, in proportion, so that growing stays cheap."""
    return length + 32 + length // 8


class RoomyLayer(CacheLayerMixin):
    """One layer's keys and values, (rows, heads, room, head_dim), of which `length` are in use.

    Rows end at the same position; shorter ones are padded on the left, where the mask hides
    them. Sliding windows are the mask's business too.
    """

    keys: Tensor
    values: Tensor
    is_sliding = False

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.length = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Makes room for the first keys and values."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys = _with_room(key_states[:, :, :0], key_states.shape[2])
        self.values = _with_room(value_states[:, :, :0], value_states.shape[2])
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *_args: Any, **_options: Any
    ) -> tuple[Tensor, Tensor]:
        """Appends (rows, heads, new, head_dim); returns all that is in use."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, end = self.length, self.length + key_states.shape[2]
        if end > self.keys.shape[2]:
            self.keys = _with_room(self.keys[:, :, :start], end)
            self.values = _with_room(self.values[:, :, :start], end)
        self.keys[:, :, start:end] = key_states
        self.values[:, :, start:end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of what a mask has to cover."""
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        """Positions in use."""
        return self.length

    def get_max_length(self) -> int:
        """No bound (-1): room is made as it is needed."""
        return -1

    def keep(self, rows: Tensor, start: int) -> None:
        """Keeps the given rows, from position `start` on."""
        self.keys = _with_room(self.keys[rows, :, start : self.length], 0)
        self.values = _with_room(self.values[rows, :, start : self.length], 0)
        self.length -= start

    def join(self, other: RoomyLayer) -> None:
        """Puts another layer's rows below these, ends aligned."""
        length = max(self.length, other.length)
        self.keys = _stack(self.keys[:, :, : self.length], other.keys[:, :, : other.length])
        self.values = _stack(self.values[:, :, : self.length], other.values[:, :, : other.length])
        self.length = length


class RowCache(Cache):
    """The cache of a batch; rows join and leave."""

    layers: list[RoomyLayer]  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__(layer_class_to_replicate=RoomyLayer)

    def keep(self, rows: Sequence[int], start: int) -> None:
        """Keeps the given rows and drops the first `start` positions of all of them."""
        for layer in self.layers:
            if layer.is_initialized:
                layer.keep(torch.tensor(rows, device=layer.device), start)

    def join(self, other: RowCache) -> None:
        """Puts the rows of `other` below these. `other` is not to be used any more."""
        for layer, newcomer in zip(self.layers, other.layers, strict=True):
            # A layer that shares another's keys never gets any of its own.
            if layer.is_initialized:
                layer.join(newcomer)


def _with_room(states: Tensor, needed: int) -> Tensor:
    """A copy with room for `needed` positions at least, and some ahead.

    Room that is not in use holds zeros: a hidden NaN would still spoil a sum.
    """
    rows, heads, length, width = states.shape
    roomy = states.new_zeros((rows, heads, _roomy(max(needed, length)), width))
    roomy[:, :, :length] = states
    return roomy


def _stack(upper: Tensor, lower: Tensor) -> Tensor:
    length = max(upper.shape[2], lower.shape[2])
    rows = upper.shape[0] + lower.shape[0]
    roomy = upper.new_zeros((rows, upper.shape[1], _roomy(length), upper.shape[3]))
    roomy[: upper.shape[0], :, length - upper.shape[2] : length] = upper
    roomy[upper.shape[0] :, :, length - lower.shape[2] : length] = lower
    return roomy
