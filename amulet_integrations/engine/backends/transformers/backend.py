"""The backend of transformers models: forward passes over rows of unequal length."""

from __future__ import annotations

import gc
import logging
from collections.abc import Sequence
from typing import cast
from uuid import uuid4

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from amulet_integrations.engine.backends.base import KVCache, RowInput, SavedPrefix
from amulet_integrations.engine.kv.memory_use import free_device_memory, is_out_of_memory

from .architecture_check import check_architecture
from .cuda_graphs import Capture, CudaGraphCapture, CudaGraphRunner, check_one_cuda_device
from .fingerprint import model_fingerprint
from .forward_pass import ForwardPass, lengthen
from .masks import Batching
from .model_info import (
    context_window,
    end_token_ids,
    free_cache_bytes,
    vocabulary_sizes,
)
from .row_cache import RowCache, padded_capacity

logger = logging.getLogger(__name__)

_DECODE_TOKENS_CPU = 32  # up to here a pass takes about as long as one of a single token
_DECODE_TOKENS_GPU = 256
_PREFILL_TOKENS_CPU, _PREFILL_TOKENS_GPU = 256, 4096
_LEAST_CACHE_TOKENS = 1024
_TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.1}
_COARSE_TOLERANCE = 0.5  # bfloat16 and quantized weights


class TransformersBackend:
    """Runs a decoder-only model; see `Backend` for the methods.

    Args:
        model: A model with attention only, in eval mode and on its device.
        tokenizer: The model's tokenizer.
        model_name: The checkpoint's name; by default the config's.
        fingerprint: Equal for backends that give equal answers; by default every backend has its
            own.
        cuda_graphs: Whether decode steps are recorded as CUDA graphs and replayed.

    Raises:
        UnsupportedModelError: The model keeps a state that contexts of unequal length cannot share,
            or a trial of a few tokens shows that it cannot be run; see `architecture_check`.
        InvalidRequestError: `cuda_graphs` is set, and the model is not whole on one CUDA device.
    """

    backend_name = "transformers"
    pads_inputs = True
    max_rows = None

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        model_name: str | None = None,
        fingerprint: str | None = None,
        cuda_graphs: bool = False,
    ) -> None:
        self._architecture = check_architecture(model)
        self._model = model
        self.tokenizer = tokenizer
        self.model_name: str = model_name or str(model.config.name_or_path)
        self.fingerprint: str = fingerprint or uuid4().hex
        self.context_window: int = context_window(model.config)
        self.vocab_size, self.logits_size = vocabulary_sizes(model)
        configured = getattr(model.generation_config, "eos_token_id", None)
        self.end_ids = end_token_ids(configured, tokenizer, self.logits_size)
        self.device: torch.device = model.device
        on_cpu = self.device.type == "cpu"
        self.max_decode_tokens = _DECODE_TOKENS_CPU if on_cpu else _DECODE_TOKENS_GPU
        self.default_prefill_tokens = _PREFILL_TOKENS_CPU if on_cpu else _PREFILL_TOKENS_GPU
        self.logits_tolerance = _TOLERANCE.get(model.dtype, _COARSE_TOLERANCE)
        self._forward = ForwardPass(model, self._architecture.batching)
        self._graphs: CudaGraphRunner | None = None
        if cuda_graphs:
            check_one_cuda_device(model)
            self.use_graphs(CudaGraphCapture(self.device))

    @property
    def model(self) -> PreTrainedModel:
        """The model."""
        return self._model

    @property
    def captured_graphs(self) -> int:
        """The number of CUDA graphs that are held."""
        return 0 if self._graphs is None else self._graphs.captured

    def use_graphs(self, capture: Capture) -> None:
        """Lets `decode` record steps of one token a row and replay them.

        Args:
            capture: Records a step; see `cuda_graphs`.
        """
        if self._forward.batching is Batching.MIXED and self._forward.takes_positions:
            self._graphs = CudaGraphRunner(self._model, self._forward, capture)
        else:
            logger.warning("%s is decoded without CUDA graphs.", type(self._model).__name__)

    def free_cache_tokens(self) -> int:
        """See `Backend`; half of the free memory is counted, four fifths on CUDA."""
        free = free_cache_bytes(self.device) // self._architecture.bytes_per_token
        return max(_LEAST_CACHE_TOKENS, free)

    def cache_tokens(self, lengths: Sequence[int]) -> int:
        """See `Backend`; every row takes as much memory as the longest."""
        return len(lengths) * padded_capacity(max(lengths, default=0))

    def new_cache(self, max_rows: int, max_tokens: int) -> RowCache:  # noqa: ARG002
        """See `Backend`; memory is taken as it is needed."""
        return RowCache()

    def forward(
        self, cache: KVCache, inputs: Sequence[RowInput], logits_to_keep: int = 1
    ) -> Tensor:
        """See `Backend`."""
        return self._forward(cast("RowCache", cache), inputs, logits_to_keep)

    def decode(self, cache: KVCache, inputs: Sequence[RowInput], logits_to_keep: int) -> Tensor:
        """See `Backend`; a step of one token for each of the first rows may be replayed."""
        if self._graphs and _is_single_token_step(inputs):
            rows = cast("RowCache", cache)
            logits = self._graphs.decode(rows, [each.ids[0] for each in inputs])
            if logits is not None:
                lengthen(rows, inputs)
                return logits
        return self.forward(cache, inputs, logits_to_keep)

    def free_prefix(self, saved: SavedPrefix) -> None:
        """See `Backend`; nothing is to be done, because tensors free themselves."""

    def drop_graphs(self) -> bool:
        """See `Backend`."""
        return self._graphs is not None and self._graphs.drop()

    def is_out_of_memory(self, error: BaseException) -> bool:
        """See `Backend`."""
        return is_out_of_memory(error)

    def free_memory(self) -> None:
        """See `Backend`."""
        free_device_memory()

    def model_fingerprint(self) -> str:
        """See `Backend`, and `fingerprint.model_fingerprint`."""
        return model_fingerprint(self._model)

    def release(self) -> None:
        """See `Backend`."""
        del self._model, self._forward
        self._graphs = None
        gc.collect()  # layers and their hooks refer to each other


def _is_single_token_step(inputs: Sequence[RowInput]) -> bool:
    """Returns whether the inputs are one token for each of the first rows."""
    return all(each.row == row and len(each.ids) == 1 for row, each in enumerate(inputs))
