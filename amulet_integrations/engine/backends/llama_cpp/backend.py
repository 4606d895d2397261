"""The backend of GGUF models: llama.cpp computes, and rows are sequences of its cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from amulet_integrations.decoding.turn_end import turn_end_token
from amulet_integrations.engine.backends.base import KVCache, RowInput, SavedPrefix
from amulet_integrations.engine.kv.memory_use import available_memory, is_out_of_memory
from amulet_integrations.errors import InvalidParamsError

from .llama_cache import LlamaCppCache, SavedSequence
from .llama_context import LlamaCppContext
from .llama_library import library
from .llama_model import LlamaCppModel
from .llama_options import LlamaCppOptions
from .llama_trial import try_model

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_DECODE_TOKENS_CPU = 8  # past here a pass takes as much longer as it has more tokens
_DECODE_TOKENS_GPU = 64
_PREFILL_TOKENS_CPU, _PREFILL_TOKENS_GPU = 256, 2048
_MOST_PREFIXES = 64
_CACHE_TOKENS = 32_768
_SHARE_OF_MEMORY = 4  # a quarter of what is free
_LEAST_CACHE_TOKENS = 1024
_SPARE_FACTOR = 4


class LlamaCppBackend:
    """Runs a GGUF model; see `Backend` for the methods.

    Args:
        model: The model. The backend closes it.
        tokenizer: The model's tokenizer.
        model_name: The checkpoint's name.
        options: How llama.cpp computes; by default as the model was loaded.

    Raises:
        UnsupportedModelError: A trial of a few tokens shows that rows cannot be cut and share a
            beginning.
    """

    backend_name = "llama_cpp"
    device = torch.device("cpu")  # llama.cpp hands its logits out in main memory
    pads_inputs = False

    def __init__(
        self,
        model: LlamaCppModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        model_name: str,
        options: LlamaCppOptions | None = None,
    ) -> None:
        self._model = model
        self.tokenizer = tokenizer
        self.model_name = model_name
        options = options or model.options
        self.fingerprint = f"llama_cpp {model.path.resolve()} {model.fingerprint()} {options}"
        self.context_window = model.n_ctx
        self.vocab_size = self.logits_size = model.n_vocab
        ends = (*model.end_ids, tokenizer.eos_token_id, turn_end_token(tokenizer))
        self.end_ids = frozenset(it for it in ends if it is not None and it < model.n_vocab)
        trial = try_model(model)
        self.logits_tolerance = trial.logits_tolerance
        self._bytes_per_token = trial.bytes_per_token
        self.max_decode_tokens = _DECODE_TOKENS_GPU if model.on_gpu else _DECODE_TOKENS_CPU
        self.default_prefill_tokens = _PREFILL_TOKENS_GPU if model.on_gpu else _PREFILL_TOKENS_CPU
        # See `LlamaCppContext` for the half.
        sequences = int(library().llama_max_parallel_sequences())
        self.max_rows = sequences // 2 if model.has_sliding_windows else sequences
        self._spare: LlamaCppContext | None = None
        self._released = False

    def free_cache_tokens(self) -> int:
        """See `Backend`; 32,768, or what a quarter of the free memory holds."""
        available = available_memory()
        if available is None or self._model.on_gpu:
            return _CACHE_TOKENS
        fitting = available // _SHARE_OF_MEMORY // self._bytes_per_token
        return max(_LEAST_CACHE_TOKENS, min(_CACHE_TOKENS, fitting))

    def cache_tokens(self, lengths: Sequence[int]) -> int:
        """See `Backend`; each token takes a cell."""
        return sum(lengths)

    def new_cache(self, max_rows: int, max_tokens: int) -> LlamaCppCache:
        """See `Backend`; the memory is taken at once.

        Raises:
            InvalidParamsError: There is not so much memory.
        """
        prefixes = 0 if self._model.copies_states else _MOST_PREFIXES + 1
        sequences = min(self.max_rows, max_rows + prefixes)
        spare, self._spare = self._spare, None
        if spare is not None and _suits(spare, sequences, max_tokens):
            context = spare
        else:
            if spare is not None:
                spare.close()
            self._check_memory(max_tokens)
            context = LlamaCppContext(self._model, sequences, max_tokens)
        return LlamaCppCache(context, max_rows, self._take_back)

    def forward(
        self, cache: KVCache, inputs: Sequence[RowInput], logits_to_keep: int = 1
    ) -> Tensor:
        """See `Backend`."""
        return _append(cache, inputs, logits_to_keep).clone()

    def decode(self, cache: KVCache, inputs: Sequence[RowInput], logits_to_keep: int) -> Tensor:
        """See `Backend`; where inputs are equally long, the logits are llama.cpp's own memory."""
        return _append(cache, inputs, logits_to_keep)

    def free_prefix(self, saved: SavedPrefix) -> None:
        """See `Backend`."""
        if isinstance(saved, SavedSequence):
            saved.cache.free(saved)

    def drop_graphs(self) -> bool:
        """See `Backend`; there are none."""
        return False

    def is_out_of_memory(self, error: BaseException) -> bool:
        """See `Backend`."""
        return is_out_of_memory(error)

    def free_memory(self) -> None:
        """See `Backend`."""
        if self._spare is not None:
            self._spare.close()
            self._spare = None

    def model_fingerprint(self) -> str:
        """See `Backend`, and `LlamaCppModel.fingerprint`."""
        return self._model.fingerprint()

    def release(self) -> None:
        """See `Backend`."""
        self._released = True
        self.free_memory()
        self._model.close()

    def _take_back(self, context: LlamaCppContext) -> None:
        """Keeps the context of a cache that was closed for the next one: making it takes long."""
        self.free_memory()
        if self._released:
            context.close()
        else:
            context.clear()
            self._spare = context

    def _check_memory(self, max_tokens: int) -> None:
        """Refuses what main memory cannot hold: the system would end the process instead."""
        available, needed = available_memory(), max_tokens * self._bytes_per_token
        if available is None or self._model.on_gpu or needed <= available:
            return
        raise InvalidParamsError(
            f"Keys and values of {max_tokens:,} tokens take {needed / 1e9:.1f} GB; "
            f"{available / 1e9:.1f} GB of memory are free. Lower max_cache_tokens, or hold them in "
            "fewer bytes (type_k, type_v)."
        )


def _append(cache: KVCache, inputs: Sequence[RowInput], logits_to_keep: int) -> Tensor:
    rows = cast("LlamaCppCache", cache)
    logits, counts = rows.context.decode(rows.inputs(inputs), logits_to_keep)
    rows.lengthen(inputs)
    positions = max(counts)
    if min(counts) == positions:
        return logits.view(len(inputs), positions, -1)
    padded = logits.new_zeros(len(inputs), positions, logits.shape[-1])
    for own, count, target in zip(logits.split(counts), counts, padded, strict=True):
        target[positions - count :] = own
    return padded


def _suits(context: LlamaCppContext, sequences: int, cells: int) -> bool:
    """Whether a context is large enough, and not much too large."""
    fits = context.n_seq_max >= sequences and context.cells >= cells
    return fits and context.cells <= _SPARE_FACTOR * cells
