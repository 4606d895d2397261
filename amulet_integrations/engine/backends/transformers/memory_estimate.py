"""How much memory a model and its users need, found out from its config before it is loaded.

The model is built without weights (on torch's device "meta") and reads one token, so that sizes are
those of the model's own code: grouped heads, latent attention, shared layers and tied embeddings need
no formulas here.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import DynamicCache

from amulet_integrations.engine.model_source import ModelSource
from amulet_integrations.engine.worker import run_on_worker
from amulet_integrations.errors import InvalidParamsError, UnsupportedModelError

from .loading.loader import load_config
from .model_info import check_attention_only, context_window, takes_argument
from .row_cache import padded_capacity

_BYTES = {"float64": 8.0, "float32": 4.0, "bfloat16": 2.0, "float16": 2.0, "q4": 4.5 / 8}
_VECTOR_BYTES_OF_Q4 = 4  # vectors, such as norms, stay in float32
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
            f"{self.parameters / 1e9:.3g} billion parameters; "
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

    What torch itself, the activations of a step and kept prefixes take comes on top, and so do packed
    weights on the CPU.

    Args:
        model: Hub id, folder, "embedded", `ModelSource`, or a transformers config. Of a checkpoint
            on the hub, the config alone is downloaded.
        dtype: What the weights are kept in: "float32", "bfloat16", "float16", "float64", or "q4":
            4.5 bits for each weight of a matrix, as in GGUF's Q4_0, with keys and values in
            16 bits. "auto" is the checkpoint's own.
        users: How many requests are answered at once.
        tokens: The tokens of each context, prompt and completion together.
        contexts: The contexts of a request: 2 for one preference, and one more for each further
            preference that is weighed by itself.
        sliding_windows: Whether layers with a sliding window keep no more tokens than it has, and
            rows take no memory ahead. `LocalEngine` keeps all tokens, and takes an eighth ahead.

    Raises:
        InvalidParamsError: A number is not a whole number of at least 1, `tokens` is past the
            context window, or the dtype is unknown.
        UnsupportedModelError: The model keeps more of the past than keys and values, or its code is
            not part of transformers.
        ModelNotFoundError: There is no such checkpoint.
    """
    for name, number in (("users", users), ("tokens", tokens), ("contexts", contexts)):
        if type(number) is not int or number < 1:
            raise InvalidParamsError(f"{name}={number!r}: give a whole number, 1 or more.", param=name)
    config = _config(model)
    kind = _dtype_name(dtype, config)
    if tokens > (window := context_window(config)):
        raise InvalidParamsError(
            f"tokens={tokens} is more than the context window of {window} tokens.", param="tokens"
        )
    parts = run_on_worker(_measure, config)
    cache_element = _CACHE_BYTES_OF_Q4 if kind == "q4" else int(_BYTES[kind])
    rows, room = users * contexts, tokens if sliding_windows else padded_capacity(tokens)
    held = sum(
        layer.elements * (min(room, layer.window) if sliding_windows and layer.window else room)
        for layer in parts.layers
    )
    vector_bytes = _VECTOR_BYTES_OF_Q4 if kind == "q4" else _BYTES[kind]
    return MemoryEstimate(
        parameters=parts.in_matrices + parts.in_vectors,
        weight_bytes=round(parts.in_matrices * _BYTES[kind] + parts.in_vectors * vector_bytes),
        cache_bytes_per_token=cache_element * sum(layer.elements for layer in parts.layers),
        cache_tokens=rows * room,
        cache_bytes=rows * held * cache_element,
    )


@dataclass(frozen=True)
class _Layer:
    """What one layer keeps of a token: so many numbers, for so many tokens (None: for all)."""

    elements: int
    window: int | None


@dataclass(frozen=True)
class _Parts:
    in_matrices: int
    in_vectors: int
    layers: tuple[_Layer, ...]


def _config(model: object) -> PreTrainedConfig:
    if isinstance(model, PreTrainedConfig):
        return model
    if isinstance(model, str | Path):
        model = ModelSource(str(model))
    if not isinstance(model, ModelSource):
        raise InvalidParamsError(
            f"model is a {type(model).__name__}: give a hub id, a folder, a ModelSource or a "
            "transformers config.",
            param="model",
        )
    return load_config(model)


def _dtype_name(dtype: str | torch.dtype, config: PreTrainedConfig) -> str:
    name = str(dtype).removeprefix("torch.")
    if name == "auto":
        own = config.dtype or config.get_text_config().dtype or torch.float32
        name = str(own).removeprefix("torch.")
    if name not in _BYTES:
        known = ", ".join(f'"{each}"' for each in ("auto", *_BYTES))
        raise InvalidParamsError(f"dtype={name!r} is unknown. Use one of {known}.", param="dtype")
    return name


def _measure(config: PreTrainedConfig) -> _Parts:
    model = _without_weights(config)
    check_attention_only(model)
    sizes = [(weight.ndim, weight.numel()) for weight in model.parameters()]
    return _Parts(
        in_matrices=sum(size for dimensions, size in sizes if dimensions > 1),
        in_vectors=sum(size for dimensions, size in sizes if dimensions <= 1),
        layers=tuple(_layers(model)),
    )


def _without_weights(config: PreTrainedConfig) -> PreTrainedModel:
    try:
        with torch.device("meta"):
            # Kernels of experts want this type. The copy is for transformers, which writes it down.
            model: PreTrainedModel = AutoModelForCausalLM.from_config(
                deepcopy(config), dtype=torch.bfloat16
            )
    except Exception as error:  # a config that is not whole raises any error
        raise _unsupported(config, error) from error
    return model.eval()


def _layers(model: PreTrainedModel) -> Iterator[_Layer]:
    """Lets a model read one token; yields what each layer that keeps anything keeps of it."""
    windows = DynamicCache(config=model.config).layers
    cache = _cache_of_one_token(model)
    for index, layer in enumerate(cache.layers):
        of_window = windows[index] if index < len(windows) else None
        yield _Layer(
            elements=_size(layer.keys) + _size(layer.values),
            window=getattr(of_window, "sliding_window", None),
        )


def _cache_of_one_token(model: PreTrainedModel) -> DynamicCache:
    token = torch.zeros(1, 1, dtype=torch.long, device="meta")
    # Some models look at numbers unless they are given a mask and positions; some take no such mask.
    mask = torch.ones(1, 1, 1, 1, dtype=torch.bool, device="meta")
    given = {"attention_mask": mask, "position_ids": token}
    given = {name: value for name, value in given.items() if takes_argument(model, name)}
    first_error: Exception | None = None
    for arguments in ({}, given):
        cache = DynamicCache()  # it keeps all tokens, whatever kinds of layers there are
        try:
            with torch.inference_mode():
                model(input_ids=token, past_key_values=cache, use_cache=True, **arguments)
        except Exception as error:  # the model's own code
            first_error = first_error or error
        else:
            return cache
    raise _unsupported(model.config, first_error) from first_error


def _size(states: Any) -> int:
    return 0 if states is None else int(states.numel())


def _unsupported(config: PreTrainedConfig, error: Exception | None) -> UnsupportedModelError:
    name = config.name_or_path or config.model_type
    return UnsupportedModelError(
        f"The memory of {name} cannot be computed from its config: {type(error).__name__}: {error} "
        "Load it, and read engine.limits and the size of its files."
    )
