"""What tells one checkpoint from the next, whatever it is called and however it was loaded."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

_EACH_WAY = 8  # values of a tensor along each of its axes
_NOT_THE_MODEL = frozenset({"dtype", "torch_dtype", "transformers_version", "name_or_path"})
"""Entries of a config that say how, whence and by what it was loaded; private ones do, too."""


def model_fingerprint(model: PreTrainedModel) -> str:
    """The SHA-256 of a model's architecture and of a sample of its weights.

    It is the same for a checkpoint in float32 and in bfloat16, in any folder and under any name,
    and on any device that holds all weights. A quantized model has another one.

    Args:
        model: The model. Its weights are only read.
    """
    architecture = _without_loading(model.config.to_diff_dict())
    found = hashlib.sha256(json.dumps(architecture, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        found.update(json.dumps([name, list(tensor.shape)]).encode())
        with suppress(NotImplementedError, RuntimeError, TypeError):  # packed, or on no device
            found.update(sample_of(tensor).cpu().bfloat16().float().numpy().tobytes())
    return found.hexdigest()


def sample_of(tensor: Tensor) -> Tensor:
    """A few values of a tensor, wherever and in whatever order it lies, without a copy of it all.

    Training moves nearly all values, and reading all would take as long as loading the model.

    Args:
        tensor: Any tensor.

    Returns:
        A view, at most 15 values along each axis.
    """
    steps = (slice(None, None, max(1, size // _EACH_WAY)) for size in tensor.shape)
    return tensor.detach()[tuple(steps)]


def _without_loading(config: Any) -> Any:
    """A config as JSON, in all of its parts without what does not change an answer's policy."""
    if isinstance(config, dict):
        return {
            str(key): _without_loading(value)
            for key, value in config.items()
            if key not in _NOT_THE_MODEL and not str(key).startswith("_")
        }
    return [_without_loading(item) for item in config] if isinstance(config, list) else config
