"""A context of llama.cpp: sequences of tokens in shared cells, and the decoding of batches."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from math import isnan
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from amulet_integrations.errors import InvalidParamsError

from .llama_batch import LlamaCppBatch, SequenceInput, TokenColumns
from .llama_library import library, llama_errors, said
from .llama_model import LlamaCppModel, threads

_TO_THE_END = -1
_NO_CELLS = 1  # what llama_decode returns
_TYPES = {
    "f32": 0,
    "f16": 1,
    "q4_0": 2,
    "q4_1": 3,
    "q5_0": 6,
    "q5_1": 7,
    "q8_0": 8,
    "iq4_nl": 20,
    "bf16": 30,
}
_ROPE_SCALINGS = {"none": 0, "linear": 1, "yarn": 2, "longrope": 3}
_ROPE_VALUES = (
    "rope_freq_base",
    "rope_freq_scale",
    "yarn_ext_factor",
    "yarn_attn_factor",
    "yarn_beta_fast",
    "yarn_beta_slow",
    "yarn_orig_ctx",
)


State: TypeAlias = NDArray[np.uint8]
"""The keys and values of a sequence, in main memory."""


class CellsFullError(MemoryError):
    """The cells of a context hold as many tokens as they can."""


class DecodeError(RuntimeError):
    """llama.cpp could not compute a batch."""


class _NaNLogitsError(DecodeError):
    """What stands in the cells is damaged too."""


class LlamaCppContext:
    """Sequences of one model. Each token of a sequence takes a cell; sequences may share cells.

    In layers with a sliding window, llama.cpp gives away the cells of tokens that a sequence has
    left behind, and then the sequence can be neither cut nor shared from there. It never gives away
    what two sequences hold. So with such a model each sequence has a twin that holds the same.

    Args:
        model: The model.
        n_seq_max: The number of sequences; their ids begin at 0.
        cells: The most tokens of all sequences, a shared one counted once.

    Attributes:
        n_seq_max: The same.
        cells: The same, rounded up by llama.cpp.
        copies_states: As in `LlamaCppModel`.

    Raises:
        InvalidParamsError: llama.cpp cannot make it. Most often memory is missing.
    """

    def __init__(self, model: LlamaCppModel, n_seq_max: int, cells: int) -> None:
        llama = self._llama = library()
        with llama_errors() as errors:
            twins = 1 + model.has_sliding_windows
            params = _context_params(llama, model, twins * n_seq_max, cells)
            pointer = llama.llama_init_from_model(model.pointer, params)
        if not pointer:
            raise InvalidParamsError(
                f"llama.cpp cannot make room for keys and values of {cells:,} tokens and "
                f"{n_seq_max} sequences. Lower max_cache_tokens.{said(errors)}"
            )
        self._model = model  # it must not be freed before
        self._pointer = pointer
        self._free = weakref.finalize(self, llama.llama_free, pointer)
        self._memory = llama.llama_get_memory(pointer)
        if not self._memory:
            self.close()
            raise InvalidParamsError(f"{str(model.path)!r} keeps nothing of what it has read.")
        self.n_seq_max = n_seq_max
        self.copies_states = model.copies_states
        self.cells = int(llama.llama_n_ctx(pointer))
        size = min(model.options.n_batch, llama.llama_n_batch(pointer))
        # A sequence's id, and that of its twin.
        self._offsets = tuple(range(0, twins * n_seq_max, n_seq_max))
        self._batch = LlamaCppBatch(llama, size, self._offsets)
        self._view, self._viewed = torch.empty(0), (0, 0)

    def decode(self, inputs: Sequence[SequenceInput], keep: int) -> tuple[Tensor, list[int]]:
        """Appends tokens to sequences.

        Args:
            inputs: The tokens, at most one entry for each sequence.
            keep: For how many positions at the end of each input logits are wanted.

        Returns:
            The logits, shape (positions, vocab), and how many of them each input has. They are
            llama.cpp's own memory and valid until the next call, where that has one batch.

        Raises:
            CellsFullError: There are too few free cells. Nothing was appended.
            DecodeError: llama.cpp failed, or a logit is NaN, of whichever sequence: one spoils the
                others of its batch. Nothing was appended.
        """
        counts = [min(keep, len(each.ids)) for each in inputs]
        tokens = TokenColumns.of(inputs, counts)
        size = self._batch.size
        try:
            pieces = [
                self._decode_batch(
                    tokens.part(start, start + size), last=start + size >= len(tokens)
                )
                for start in range(0, len(tokens), size)
            ]
        except BaseException as error:
            self._take_back(inputs)  # earlier batches, and those that were computed in part
            if isinstance(error, _NaNLogitsError):
                self._erase_free_cells()
            raise
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces), counts

    def share(self, source: int, target: int, length: int) -> None:
        """Makes the first tokens of one sequence the content of another; nothing is copied."""
        self.truncate(target, 0)
        if length:
            for offset in self._offsets:
                self._llama.llama_memory_seq_cp(self._memory, source, target + offset, 0, length)

    def merge(self, source: int, target: int, length: int) -> None:
        """Lets two sequences that begin with the same tokens share the cells of these."""
        for offset in self._offsets:
            other = target + offset
            self._llama.llama_memory_seq_rm(self._memory, other, 0, length)
            self._llama.llama_memory_seq_cp(self._memory, source + offset, other, 0, length)

    def state(self, sequence: int) -> State:
        """Copies the keys and values of a sequence out of the cells.

        Raises:
            MemoryError: There is not so much memory, or llama.cpp failed.
        """
        size = self.sequence_bytes(sequence)
        state = np.empty(size, dtype=np.uint8)
        with llama_errors() as errors:
            written = self._llama.llama_state_seq_get_data(
                self._pointer, _bytes(state), size, sequence
            )
        if written != size:
            raise MemoryError(f"llama.cpp copied {written:,} of {size:,} bytes.{said(errors)}")
        return state

    def restore(self, sequence: int, state: State) -> bool:
        """Makes what was copied the content of a sequence; it is empty if cells are missing."""
        return bool(
            self._llama.llama_state_seq_set_data(
                self._pointer, _bytes(state), state.nbytes, sequence
            )
        )

    def truncate(self, sequence: int, length: int) -> None:
        """Takes back the tokens of a sequence after the first `length`."""
        for offset in self._offsets:
            self._llama.llama_memory_seq_rm(self._memory, sequence + offset, length, _TO_THE_END)

    def clear(self) -> None:
        """Takes back the tokens of all sequences, and overwrites what was computed of them."""
        self._llama.llama_memory_clear(self._memory, True)

    def sequence_bytes(self, sequence: int) -> int:
        """Returns how many bytes the keys and values of a sequence have, and a little more."""
        return int(self._llama.llama_state_seq_get_size(self._pointer, sequence))

    def close(self) -> None:
        """Frees the context. It is not used any more."""
        self._free()

    def _take_back(self, inputs: Sequence[SequenceInput]) -> None:
        for each in inputs:
            self.truncate(each.sequence, each.position)

    def _erase_free_cells(self) -> None:
        """Overwrites what is left in cells that are free: even hidden, a NaN spoils a sum."""
        size = self._llama.llama_state_get_size(self._pointer)
        state = (ctypes.c_uint8 * size)()
        written = self._llama.llama_state_get_data(self._pointer, state, size)
        self.clear()
        if self._llama.llama_state_set_data(self._pointer, state, written) != written:
            raise DecodeError("llama.cpp could not restore its cells.")

    def _decode_batch(self, tokens: TokenColumns, *, last: bool) -> Tensor:
        with llama_errors() as errors:
            status = self._llama.llama_decode(self._pointer, self._batch.fill(tokens))
        if status == _NO_CELLS:
            raise CellsFullError(
                f"The {self.cells:,} cells of llama.cpp's cache have no room for {len(tokens):,} "
                "more tokens."
            )
        if status:
            raise DecodeError(f"llama_decode returned {status}.{said(errors)}")
        logits = self._logits(tokens.wanted.tobytes().count(1))
        return logits if last else logits.clone()

    def _logits(self, count: int) -> Tensor:
        """A view of llama.cpp's logits, shape (count, vocab)."""
        vocab = self._model.n_vocab
        if not count:
            return torch.empty(0, vocab)
        pointer = self._llama.llama_get_logits(self._pointer)
        if not pointer:
            raise DecodeError("llama.cpp computed no logits.")
        # One NaN inside makes all logits NaN.
        if any(isnan(pointer[start]) for start in range(0, count * vocab, vocab)):
            raise _NaNLogitsError(
                "The logits are NaN: the model's weights are damaged, or its values too large for "
                "16 bits (try type_k='bf16', type_v='bf16')."
            )
        place = ctypes.addressof(pointer.contents), count
        if place != self._viewed:  # it takes longer to make a view than to see that it is right
            values = (ctypes.c_float * (count * vocab)).from_address(place[0])
            self._view = torch.frombuffer(values, dtype=torch.float32).view(-1, vocab)
            self._viewed = place
        return self._view


def _bytes(state: State) -> Any:
    return state.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))


def _context_params(llama: Any, model: LlamaCppModel, n_seq_max: int, cells: int) -> Any:
    options = model.options
    params = llama.llama_context_default_params()
    params.n_seq_max = n_seq_max
    # llama.cpp plans for a token of every sequence; it ends the process where there is no room.
    params.n_ctx = max(cells, n_seq_max)
    params.n_batch = max(options.n_batch, n_seq_max)
    params.n_ubatch = max(options.n_ubatch, n_seq_max)
    params.n_threads, params.n_threads_batch = threads(options)
    if options.flash_attn is not None:
        params.flash_attn_type = int(options.flash_attn)
    if options.rope_scaling_type is not None:
        params.rope_scaling_type = _ROPE_SCALINGS[options.rope_scaling_type]
    for name in _ROPE_VALUES:
        if (value := getattr(options, name)) is not None:
            setattr(params, name, value)
    if model.rope_factors is not None and not params.yarn_orig_ctx:
        params.yarn_orig_ctx = model.rope_factors.short_window  # the file's was overridden
    params.type_k, params.type_v = _TYPES[options.type_k], _TYPES[options.type_v]
    params.offload_kqv, params.op_offload = options.offload_kqv, options.op_offload
    # Sequences share cells, and of each any beginning may be kept.
    params.kv_unified = params.swa_full = True
    if hasattr(params, "n_outputs_max_per_seq"):
        params.n_outputs_max_per_seq = 0  # as many as there are
    return params
