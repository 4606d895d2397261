"""How much memory a model and its users need, before it is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedConfig

from amulet_integrations.engine.model_source import ModelSource
from amulet_integrations.engine.worker import run_on_worker
from amulet_integrations.errors import InvalidParamsError

from .loading.loader import read_config
from .model_info import context_window
from .row_cache import padded_capacity
from .weightless_model import ModelSize, measure_model

_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
_Q4 = "q4"
_DTYPES = ("auto", *_BYTES, _Q4)
# What llama.cpp's quantization to Q4_0 makes of matrices and vectors, in bits a weight.
_MATRIX_BITS, _VECTOR_BITS = 4.5, 32
_OUTPUT_BITS, _UNEVEN_OUTPUT_BITS = 6.5625, 8.5  # Q6_K; Q8_0 where rows do not fill its blocks
_Q6_BLOCK = 256
_CACHE_BYTES_OF_Q4 = 2
_GIGABYTE = 1e9


@dataclass(frozen=True)
class MemoryEstimate:
    """The memory that weights, and keys and values, take; see `estimate_memory`.

    Attributes:
        parameters: The number of weights; tied ones count once.
        weight_bytes: The bytes of the weights.
        cache_bytes_per_token: The bytes of one token's keys and values, in all layers together.
        cache_tokens: The number of tokens that memory is taken for; of `LocalEngine`, the
            `max_cache_tokens` that it needs at least.
        cache_bytes: The bytes of all keys and values.
    """

    parameters: int
    weight_bytes: int
    cache_bytes_per_token: int
    cache_tokens: int
    cache_bytes: int

    @property
    def total_bytes(self) -> int:
        """Weights, keys and values together."""
        return self.weight_bytes + self.cache_bytes

    def __str__(self) -> str:
        return (
            f"{self.parameters / 1e9:.3g} billion parameters: "
            f"weights {self.weight_bytes / _GIGABYTE:.3g} GB, keys and values of "
            f"{self.cache_tokens:,} tokens {self.cache_bytes / _GIGABYTE:.3g} GB, together "
            f"{self.total_bytes / _GIGABYTE:.3g} GB"
        )


def estimate_memory(
    model: str | Path | ModelSource | PreTrainedConfig,
    *,
    dtype: str | torch.dtype = "auto",
    users: int = 1,
    tokens: int = 2048,
    contexts: int = 2,
    sliding_windows: bool = False,
) -> MemoryEstimate:
    """Computes how much memory a model and its users need. No weights are read.

    On top comes what torch itself, the activations of a step and kept prefixes take, and on the
    CPU packed weights.

    Args:
        model: Hub id, folder, "embedded", `ModelSource`, or a transformers config. Of a checkpoint
            on the hub, only the config is downloaded.
        dtype: What the weights are kept in: "float32", "bfloat16", "float16", "float64", or "q4",
            GGUF's Q4_0: 4.5 bits for each weight of a matrix, more for the output layer, and keys
            and values in 16 bits. "auto" is the checkpoint's own.
        users: How many requests are answered at once.
        tokens: The tokens of each context, prompt and completion together.
        contexts: The contexts of a request: 2 for one preference, and one more for each further
            preference that has a weight of its own.
        sliding_windows: Whether layers with a sliding window keep no more tokens than it has, and
            rows take no memory ahead. `LocalEngine` keeps all tokens, and takes an eighth ahead.

    Raises:
        InvalidParamsError: A number is not a whole number of at least 1, `tokens` is past the
            context window, or the dtype is unknown.
        UnsupportedModelError: The model keeps more of the past than keys and values, or its code is
            not part of transformers, or it does not run without weights.
        ModelNotFoundError: There is no such checkpoint.
    """
    for name, number in (("users", users), ("tokens", tokens), ("contexts", contexts)):
        if type(number) is not int or number < 1:
            message = f"{name}={number!r}: give a whole number, 1 or more."
            raise InvalidParamsError(message, param=name)
    kind = _dtype_name(dtype)
    config = _config(model)
    if tokens > (window := context_window(config)):
        raise InvalidParamsError(
            f"tokens={tokens} is more than the context window of {window} tokens.", param="tokens"
        )
    if kind == "auto":
        own = config.dtype or config.get_text_config().dtype or torch.float32
        kind = _dtype_name(own)
    size = run_on_worker(measure_model, config)
    rows, room = users * contexts, tokens if sliding_windows else padded_capacity(tokens)
    windows = [layer.window if sliding_windows and layer.window else room for layer in size.layers]
    held = sum(
        layer.elements * min(room, window)
        for layer, window in zip(size.layers, windows, strict=True)
    )
    element = _BYTES.get(kind, _CACHE_BYTES_OF_Q4)
    return MemoryEstimate(
        parameters=size.parameters,
        weight_bytes=_weight_bytes(size, kind),
        cache_bytes_per_token=element * sum(layer.elements for layer in size.layers),
        cache_tokens=rows * room,
        cache_bytes=element * rows * held,
    )


def _config(model: object) -> PreTrainedConfig:
    if isinstance(model, PreTrainedConfig):
        return model
    source = ModelSource(str(model)) if isinstance(model, str | Path) else model
    if not isinstance(source, ModelSource):
        raise InvalidParamsError(
            f"model is a {type(model).__name__}: give a hub id, a folder, a ModelSource or a "
            "transformers config.",
            param="model",
        )
    return read_config(source)


def _dtype_name(dtype: object) -> str:
    name = str(dtype).removeprefix("torch.")
    if name not in _DTYPES:
        known = ", ".join(f'"{each}"' for each in _DTYPES)
        raise InvalidParamsError(f"dtype={name!r} is unknown. Use one of {known}.", param="dtype")
    return name


def _weight_bytes(size: ModelSize, kind: str) -> int:
    if kind != _Q4:
        return size.parameters * _BYTES[kind]
    output_bits = _UNEVEN_OUTPUT_BITS if size.hidden_size % _Q6_BLOCK else _OUTPUT_BITS
    bits = size.in_matrices * _MATRIX_BITS + size.in_output * output_bits
    return round((bits + size.in_vectors * _VECTOR_BITS) / 8)
