"""Keys and values of the rows that run together, written in place.

transformers' `DynamicCache` copies the whole cache at every token. This one allocates positions
ahead and writes each token's keys and values into them, so that a step takes the same time however
long the text is. Every row begins at the first position and has a length of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from amulet_integrations.engine.backends.base import SavedPrefix

LayerStates = tuple[Tensor, Tensor] | None
"""Keys and values of a row in one layer, (tokens, heads, head_dim) each; None if it has none."""


@dataclass
class SlotMapping:
    """Where the tokens of the current pass are written; all layers share it.

    Attributes:
        rows: The rows that take part; a slice where they are adjacent, which saves a copy.
        columns: The slots of the new keys and values, (rows, new), counted across all rows.
        width: The number of positions that attention sees.
        row_capacity: The number of rows that memory is allocated for.
        capacity: The number of positions that each row has memory for.
        allocation: Another object for each allocation.
    """

    rows: slice | Tensor = field(default_factory=lambda: slice(0, 0))
    columns: Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.long))
    width: int = 0
    row_capacity: int = 0
    capacity: int = 0
    allocation: object = field(default_factory=object)
    _slots: dict[torch.device, Tensor] = field(default_factory=dict)

    def set(self, rows: Sequence[int], columns: Tensor, width: int) -> None:
        """Sets the next pass; see `RowCache.map_slots`."""
        indices = torch.tensor(rows)
        adjacent = rows[-1] - rows[0] == len(rows) - 1
        self.rows = slice(rows[0], rows[-1] + 1) if adjacent else indices
        self.columns = columns + indices[:, None] * self.capacity
        self.width = width
        self._slots.clear()

    def set_single_tokens(self, positions: Tensor) -> None:
        """Sets a pass of one token for each of the first rows; see `RowCache.map_single_tokens`."""
        rows = len(positions)
        self.rows = slice(0, rows)
        self.width = self.capacity
        first_slots = self.capacity * torch.arange(rows, device=positions.device)
        self.columns = positions + first_slots[:, None]
        self._slots = {positions.device: self.columns.flatten()}

    def slots(self, device: torch.device) -> Tensor:
        """Returns `columns`, flat and on a layer's device; they are moved there once a pass."""
        if device not in self._slots:
            self._slots[device] = self.columns.flatten().to(device)
        return self._slots[device]


class RowLayer(CacheLayerMixin):
    """The keys and values of one layer, (rows, capacity, heads, head_dim).

    Positions that are not in use hold zeros or old values. The mask hides them, but a hidden NaN
    would still spoil a sum, so a row that failed is cleared. The mask takes care of sliding windows
    too.

    Args:
        mapping: The mapping of the cache that the layer belongs to.
    """

    keys: Tensor
    values: Tensor
    is_sliding = False

    def __init__(self, mapping: SlotMapping) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._mapping = mapping

    @property
    def bytes_per_token(self) -> int:
        """The bytes of one token's keys and values; 0 before the first."""
        if not self.is_initialized:
            return 0
        return sum(part[0, 0].numel() * part.element_size() for part in (self.keys, self.values))

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocates memory, given the first keys and values, (rows, heads, new, head_dim)."""
        self.dtype, self.device = key_states.dtype, key_states.device
        size = self._mapping.row_capacity, self._mapping.capacity
        self.keys = key_states.new_zeros((*size, *key_states.shape[1::2]))
        self.values = value_states.new_zeros((*size, *value_states.shape[1::2]))
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *_args: Any, **_options: Any
    ) -> tuple[Tensor, Tensor]:
        """Writes (rows, heads, new, head_dim); returns all that attention sees of these rows."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.fit()
        return self._write(self.keys, key_states), self._write(self.values, value_states)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:  # noqa: ARG002
        """Returns the length and the offset of what a mask has to cover."""
        return self._mapping.width, 0

    def get_seq_length(self) -> int:
        """Returns the number of positions that attention sees before the new ones."""
        return self._mapping.width - self._mapping.columns.shape[1]

    def get_max_length(self) -> int:
        """Returns -1: there is no bound."""
        return -1

    def fit(self) -> None:
        """Moves into tensors of the cache's present size.

        It is called before every use, because an allocation may have failed when the other layers
        were resized.
        """
        size = self._mapping.row_capacity, self._mapping.capacity
        if self.is_initialized and self.keys.shape[:2] != size:
            self.keys, self.values = (
                _resized(states, self._mapping) for states in (self.keys, self.values)
            )

    def view(self, row: int, length: int) -> tuple[Tensor, Tensor]:
        """Returns views of a row's keys and values, (length, heads, head_dim) each."""
        return self.keys[row, :length], self.values[row, :length]

    def put(self, row: int, keys: Tensor, values: Tensor) -> None:
        """Writes the beginning of a row, (tokens, heads, head_dim) each."""
        if not self.is_initialized:
            # The shapes that a pass would bring: (rows, heads, tokens, head_dim).
            self.lazy_initialization(keys[None].transpose(1, 2), values[None].transpose(1, 2))
        self.fit()
        self.keys[row, : len(keys)] = keys
        self.values[row, : len(values)] = values

    def clear(self, row: int) -> None:
        """Writes zeros over a row."""
        if self.is_initialized and row < len(self.keys):
            self.keys[row] = 0
            self.values[row] = 0

    def _write(self, states: Tensor, new: Tensor) -> Tensor:
        mapping = self._mapping
        flat = states.view(-1, *states.shape[2:])
        flat.index_copy_(0, mapping.slots(states.device), new.transpose(1, 2).flatten(0, 1))
        return states[mapping.rows, : mapping.width].transpose(1, 2)


class RowCache(Cache):
    """The cache of all rows; see `KVCache` for the methods that the engine calls.

    Attributes:
        lengths: The number of tokens that each row holds.
    """

    layers: list[RowLayer]  # type: ignore[assignment]
    max_saved = None

    def __init__(self) -> None:
        self._mapping = SlotMapping()
        self.lengths: list[int] = []
        super().__init__(layer_class_to_replicate=partial(RowLayer, self._mapping))  # type: ignore[arg-type]

    @property
    def tokens(self) -> int:
        """See `KVCache`."""
        return self._mapping.row_capacity * self._mapping.capacity

    @property
    def bytes_per_token(self) -> int:
        """The bytes of one token's keys and values in all layers that have been written."""
        return sum(layer.bytes_per_token for layer in self.layers)

    def add(self, rows: int) -> None:
        """See `KVCache`."""
        self.lengths += [0] * rows
        self.reserve(0)

    def keep(self, rows: Sequence[int]) -> None:
        """See `KVCache`."""
        lengths = [self.lengths[row] for row in rows]
        left_behind = range(len(rows), len(self.lengths))
        for target, row in enumerate(rows):
            if target != row:
                self.copy(row, target, lengths[target])
        self.lengths[:] = lengths
        try:
            self._shrink()
        finally:
            # Rows that have moved leave nothing behind: a NaN may be found in them later.
            for row in left_behind:
                self.clear(row)

    def copy(self, source: int, target: int, length: int) -> None:
        """See `KVCache`."""
        self._put(target, self._views(source, length), length)

    def merge(self, source: int, target: int, length: int) -> None:
        """See `KVCache`; rows share no memory here."""

    def truncate(self, row: int, length: int) -> None:
        """See `KVCache`."""
        self.lengths[row] = length

    def clear(self, row: int) -> None:
        """See `KVCache`; the row's length stays."""
        for layer in self.layers:
            layer.clear(row)

    def save(self, row: int, length: int) -> SavedPrefix:
        """See `KVCache`."""
        views = self._views(row, length)
        return [states and (states[0].clone(), states[1].clone()) for states in views]

    def load(self, row: int, saved: SavedPrefix, length: int) -> None:
        """See `KVCache`."""
        self._put(row, cast("list[LayerStates]", saved), length)

    def close(self) -> None:
        """See `KVCache`."""
        self.layers.clear()
        self.lengths.clear()

    def map_slots(self, rows: Sequence[int], columns: Tensor, width: int) -> None:
        """Sets where the keys and values of the next pass are written.

        Args:
            rows: The rows that take part, in ascending order.
            columns: The position of each new token in its row, (rows, new), on the CPU. Several
                tokens may share the position after a row's last: it will be overwritten.
            width: The number of positions that attention is to see.
        """
        self.reserve(width)
        self._mapping.set(rows, columns, width)

    def map_single_tokens(self, positions: Tensor) -> int:
        """Sets where a pass of one token for each of the first rows is written.

        No value of a tensor is read.

        Args:
            positions: The tokens' positions in their rows, (rows, 1), on the layers' device.

        Returns:
            The number of positions that attention is to see: all that are allocated.
        """
        self._mapping.set_single_tokens(positions)
        return self._mapping.capacity

    @property
    def allocation(self) -> object:
        """Stands for where keys and values lie: another object whenever they have moved."""
        return self._mapping.allocation

    def reserve(self, width: int) -> None:
        """Allocates memory for all rows of at least `width` + 1 positions, if it is missing."""
        mapping = self._mapping
        if len(self.lengths) <= mapping.row_capacity and width < mapping.capacity:
            return
        # What is too much in one direction is freed when more is needed in the other.
        mapping.row_capacity = len(self.lengths)
        mapping.capacity = padded_capacity(max(width, *self.lengths))
        self._resize()

    def _views(self, row: int, length: int) -> list[LayerStates]:
        return [layer.view(row, length) if layer.is_initialized else None for layer in self.layers]

    def _put(self, row: int, states: Sequence[LayerStates], length: int) -> None:
        while len(self.layers) < len(states):
            self.layers.append(RowLayer(self._mapping))
        self.reserve(length)
        for layer, of_layer in zip(self.layers, states, strict=False):
            # A layer that shares another's keys never gets any of its own.
            if of_layer is not None:
                layer.put(row, of_layer[0][:length], of_layer[1][:length])
        self.lengths[row] = length

    def _shrink(self) -> None:
        """Frees memory once half of the rows, or half of the positions, are not needed."""
        mapping = self._mapping
        longest = padded_capacity(max(self.lengths, default=0))
        if 2 * len(self.lengths) <= mapping.row_capacity or 2 * longest <= mapping.capacity:
            mapping.row_capacity = len(self.lengths)
            mapping.capacity = min(mapping.capacity, longest)
            self._resize()

    def _resize(self) -> None:
        self._mapping.allocation = object()
        for layer in self.layers:
            layer.fit()


def padded_capacity(length: int) -> int:
    """Returns how many positions to allocate for a row of some length: an eighth and 33 more.

    Growing in proportion keeps the number of reallocations small.
    """
    return length + 33 + length // 8


def _resized(states: Tensor, mapping: SlotMapping) -> Tensor:
    resized = states.new_zeros((mapping.row_capacity, mapping.capacity, *states.shape[2:]))
    rows = min(len(states), mapping.row_capacity)
    capacity = min(states.shape[1], mapping.capacity)
    resized[:rows, :capacity] = states[:rows, :capacity]
    return resized
