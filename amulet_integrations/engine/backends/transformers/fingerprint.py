"""A fingerprint of a checkpoint that depends neither on its name nor on how it was loaded."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

_SAMPLES_PER_AXIS = 8  # values of a tensor
_LOADING_KEYS = frozenset({"dtype", "torch_dtype", "transformers_version", "name_or_path"})
"""Entries of a config about loading, not about the model. Private ones are left out too."""


def model_fingerprint(model: PreTrainedModel) -> str:
    """Computes the SHA-256 of a model's architecture and of a sample of its weights.

    It is equal for a checkpoint in float32 and in bfloat16, in any folder and under any name, and
    on any device that holds all weights. A quantized model has another one.

    Args:
        model: The model.
    """
    architecture = without_loading(model.config.to_diff_dict())
    digest = hashlib.sha256(json.dumps(architecture, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(json.dumps([name, list(tensor.shape)]).encode())
        with suppress(NotImplementedError, RuntimeError, TypeError):  # packed, or on no device
            digest.update(sample_of(tensor).cpu().bfloat16().float().numpy().tobytes())
    return digest.hexdigest()


def without_loading(config: Any) -> Any:
    """Returns a config as JSON, without the entries about loading, at any depth."""
    if isinstance(config, dict):
        return {
            str(key): without_loading(value)
            for key, value in config.items()
            if key not in _LOADING_KEYS and not str(key).startswith("_")
        }
    return [without_loading(item) for item in config] if isinstance(config, list) else config


def sample_of(tensor: Tensor) -> Tensor:
    """Returns a few values of a tensor without copying the others.

    Training changes nearly all values, and reading all would take as long as loading the model.

    Args:
        tensor: Any tensor.

    Returns:
        A view, at most 15 values along each axis.
    """
    steps = (slice(None, None, max(1, size // _SAMPLES_PER_AXIS)) for size in tensor.shape)
    return tensor.detach()[tuple(steps)]
