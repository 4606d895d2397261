"""Keys and values of beams: the prompt is read once, and a step moves only what beams wrote.

transformers' own cache reads the prompt once for each beam, and copies all of it at every step,
once to append a token and once to reorder the beams. What comes out is the same.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin


class BeamLayer(CacheLayerMixin):
    """One layer's keys and values, (beams, room, heads, head_dim).

    What is written first is the prompt, which all beams share: it may come as one row.

    Args:
        beams: How many rows there are.
        room: Positions that each has.
    """

    keys: Tensor
    values: Tensor
    is_sliding = False

    def __init__(self, beams: int, room: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._size = (beams, room)
        self._prompt = self._length = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Makes room for the first keys and values, (rows, heads, new, head_dim)."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self._prompt = key_states.shape[2]
        self.keys = key_states.new_empty((*self._size, *key_states.shape[1::2]))
        self.values = value_states.new_empty((*self._size, *value_states.shape[1::2]))
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *_args: Any, **_options: Any
    ) -> tuple[Tensor, Tensor]:
        """Writes (rows, heads, new, head_dim); returns all that attention sees of these rows."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        rows, _, new, _ = key_states.shape
        before, self._length = self._length, self._length + new
        self.keys[:, before : self._length] = key_states.transpose(1, 2)
        self.values[:, before : self._length] = value_states.transpose(1, 2)
        keys, values = self.keys[:rows, : self._length], self.values[:rows, : self._length]
        return keys.transpose(1, 2), values.transpose(1, 2)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of what a mask has to cover."""
        return self._length + query_length, 0

    def get_seq_length(self) -> int:
        """Positions that are written."""
        return self._length

    def get_max_length(self) -> int:
        """Positions that there is room for."""
        return self._size[1]

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Gives each beam what the beam that it goes on from has written, (beams,)."""
        for states in (self.keys, self.values):
            written = states[:, self._prompt : self._length]
            written.copy_(written[beam_idx.to(states.device)])


def beam_cache(beams: int, room: int) -> Cache:
    """A cache for `generate` with so many beams.

    Args:
        beams: How many.
        room: Tokens of the prompt and of the answer together.
    """
    return Cache(layer_class_to_replicate=partial(BeamLayer, beams, room))  # type: ignore[arg-type]


def read_prompt(model: Any, ids: Tensor, cache: Cache) -> None:
    """Reads all of a prompt but its last token, which is where `generate` begins.

    Args:
        model: A causal language model.
        ids: Token ids of the prompt, (1, tokens).
        cache: From `beam_cache`; empty.
    """
    if ids.shape[1] > 1:
        with torch.no_grad():
            model(ids[:, :-1], past_key_values=cache, use_cache=True, logits_to_keep=1)
