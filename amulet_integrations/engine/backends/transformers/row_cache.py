"""Keys and values of the rows that run together, written in place.

transformers' `DynamicCache` copies the whole cache at every token; this one writes each token's
keys and values into room kept ahead, so that a step costs the same however long the text is.
Every row begins at the first position and has a length of its own: it can be begun with what
another row or an earlier request has read already, and its last tokens can be taken back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

LayerStates = tuple[Tensor, Tensor] | None
"""Keys and values of one row in one layer, (tokens, heads, head_dim); None where it has none."""


@dataclass
class Places:
    """Where the tokens of the pass under way belong; all layers share it.

    Attributes:
        rows: The rows that take part; a slice where they lie together, which saves a copy.
        columns: Where the new keys and values go, (rows, new), all rows of room counted on.
        width: Positions that attention sees.
        capacity: Rows that there is room for.
        room: Positions that each row has room for.
        name: Another one for each capacity and room.
    """

    rows: slice | Tensor = field(default_factory=lambda: slice(0, 0))
    columns: Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.long))
    width: int = 0
    capacity: int = 0
    room: int = 0
    name: object = field(default_factory=object)
    _targets: dict[torch.device, Tensor] = field(default_factory=dict)

    @property
    def past(self) -> int:
        """Positions that attention sees before the new ones."""
        return self.width - self.columns.shape[1]

    def aim(self, rows: Sequence[int], columns: Tensor, width: int) -> None:
        """Sets the pass that comes; see `RowCache.aim`."""
        which = torch.tensor(rows)
        together = rows[-1] - rows[0] == len(rows) - 1
        self.rows = slice(rows[0], rows[-1] + 1) if together else which
        self.columns = columns + which[:, None] * self.room
        self.width = width
        self._targets.clear()

    def aim_first_rows(self, positions: Tensor) -> None:
        """Sets a pass of one token for each of the first rows; see `RowCache.aim_first_rows`."""
        rows = len(positions)
        self.rows = slice(0, rows)
        self.width = self.room
        self.columns = positions + self.room * torch.arange(rows, device=positions.device)[:, None]
        self._targets = {positions.device: self.columns.flatten()}

    def targets(self, device: torch.device) -> Tensor:
        """`columns` as one line on a layer's device; moved there once a pass."""
        if device not in self._targets:
            self._targets[device] = self.columns.flatten().to(device)
        return self._targets[device]


class RowLayer(CacheLayerMixin):
    """One layer's keys and values, (rows, room, heads, head_dim).

    Room that is not in use holds zeros or what was there before. The mask hides it, but a hidden
    NaN would still spoil a sum, so a row that failed is cleared. Sliding windows are the mask's
    business too.

    Args:
        places: Shared with the cache that the layer belongs to.
    """

    keys: Tensor
    values: Tensor
    is_sliding = False

    def __init__(self, places: Places) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._places = places

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Makes room for the first keys and values, (rows, heads, new, head_dim)."""
        self.dtype, self.device = key_states.dtype, key_states.device
        size = self._places.capacity, self._places.room
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
        """Length and offset of what a mask has to cover."""
        return self._places.width, 0

    def get_seq_length(self) -> int:
        """Positions that attention sees before the new ones."""
        return self._places.past

    def get_max_length(self) -> int:
        """No bound (-1): room is made as it is needed."""
        return -1

    def fit(self) -> None:
        """Moves into tensors of the capacity and the room that the cache has now.

        Before every use, for memory may have run out when the other layers did so.
        """
        size = self._places.capacity, self._places.room
        if self.is_initialized and self.keys.shape[:2] != size:
            self.keys, self.values = (
                _resized(states, self._places) for states in (self.keys, self.values)
            )

    def take(self, row: int, length: int) -> tuple[Tensor, Tensor]:
        """A row's keys and values, (length, heads, head_dim) each; not copies."""
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
        places = self._places
        flat = states.view(-1, *states.shape[2:])
        flat.index_copy_(0, places.targets(states.device), new.transpose(1, 2).flatten(0, 1))
        return states[places.rows, : places.width].transpose(1, 2)


class RowCache(Cache):
    """The cache of all rows; rows come and leave.

    Attributes:
        lengths: Tokens that each row holds.
    """

    layers: list[RowLayer]  # type: ignore[assignment]

    def __init__(self) -> None:
        self._places = Places()
        self.lengths: list[int] = []
        super().__init__(layer_class_to_replicate=partial(RowLayer, self._places))  # type: ignore[arg-type]

    @property
    def tokens(self) -> int:
        """Tokens that there is room for."""
        return self._places.capacity * self._places.room

    def clear(self, row: int) -> None:
        """Leaves nothing of a row: a NaN in it would spoil whoever comes next."""
        for layer in self.layers:
            layer.clear(row)

    def add(self, rows: int) -> None:
        """Adds empty rows below the others."""
        self.lengths += [0] * rows
        self.make_room(0)

    def keep(self, rows: Sequence[int]) -> None:
        """Keeps the given rows, in ascending order, and forgets the others."""
        lengths = [self.lengths[row] for row in rows]
        left_behind = range(len(rows), len(self.lengths))
        for target, row in enumerate(rows):
            if target != row:
                self.copy(row, target, lengths[target])
        self.lengths[:] = lengths
        try:
            self._give_room_back()
        finally:
            # Of what moved away nothing stays: it may be found later to have gone wrong.
            for row in left_behind:
                self.clear(row)

    def copy(self, source: int, target: int, length: int) -> None:
        """Begins a row with what another one begins with."""
        self.put(target, self.take(source, length), length)

    def take(self, row: int, length: int) -> list[LayerStates]:
        """What every layer holds of a row's beginning; not copies."""
        return [layer.take(row, length) if layer.is_initialized else None for layer in self.layers]

    def put(self, row: int, states: Sequence[LayerStates], length: int) -> None:
        """Begins a row with the first `length` tokens of what `take` returned."""
        while len(self.layers) < len(states):
            self.layers.append(RowLayer(self._places))
        self.make_room(length)
        for layer, of_layer in zip(self.layers, states, strict=False):
            # A layer that shares another's keys never gets any of its own.
            if of_layer is not None:
                layer.put(row, of_layer[0][:length], of_layer[1][:length])
        self.lengths[row] = length

    def aim(self, rows: Sequence[int], columns: Tensor, width: int) -> None:
        """Says where the keys and values of the next pass belong.

        Args:
            rows: The rows that take part, in ascending order.
            columns: Position of each new token in its row, (rows, new), on the CPU. Several
                tokens may share the position after a row's last: it will be written again.
            width: Positions that attention is to see.
        """
        self.make_room(width)
        self._places.aim(rows, columns, width)

    def aim_first_rows(self, positions: Tensor) -> int:
        """Says where the next pass belongs, without a look at a value: one token a row.

        Args:
            positions: Of the tokens in the first rows, (rows, 1), on the layers' device.

        Returns:
            Positions that attention is to see: all that there is room for.
        """
        self._places.aim_first_rows(positions)
        return self._places.room

    @property
    def place(self) -> object:
        """Stands for where keys and values lie: another one whenever they have moved."""
        return self._places.name

    def make_room(self, width: int) -> None:
        """Makes sure that rows may be so many positions long."""
        places = self._places
        if len(self.lengths) <= places.capacity and width < places.room:
            return
        # What is too much in one direction goes when more is needed in the other.
        places.capacity = len(self.lengths)
        places.room = roomy(max(width, *self.lengths))
        self._resize()

    def _give_room_back(self) -> None:
        places = self._places
        longest = roomy(max(self.lengths, default=0))
        if 2 * len(self.lengths) <= places.capacity or 2 * longest <= places.room:
            places.capacity, places.room = len(self.lengths), min(places.room, longest)
            self._resize()

    def _resize(self) -> None:
        self._places.name = object()
        for layer in self.layers:
            layer.fit()


def roomy(length: int) -> int:
    """Positions to make room for: some ahead, in proportion, so that growing stays cheap."""
    return length + 33 + length // 8


def _resized(states: Tensor, places: Places) -> Tensor:
    resized = states.new_zeros((places.capacity, places.room, *states.shape[2:]))
    rows, room = min(len(states), places.capacity), min(states.shape[1], places.room)
    resized[:rows, :room] = states[:rows, :room]
    return resized
