"""Which options a server's engine takes beside the settings that every engine has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal, TypeAlias

from amulet_integrations.engine.limits import EngineLimits
from amulet_integrations.engine.model_source import (
    LLAMA_CPP_OPTIONS,
    BackendName,
    ModelSource,
    with_llama_cpp_options,
)
from amulet_integrations.errors import InvalidParamsError, UnknownArgumentError

EngineName: TypeAlias = Literal["local", "vllm"]
"""`LocalEngine` or `VLLMEngine`."""

_SETTINGS = ("model", "dtype", "device", "backend", "max_waiting")
"""Settings of the server's own, which are not given as options."""

_LIMITS = frozenset(field.name for field in fields(EngineLimits))

SOURCE_OPTIONS = (frozenset(field.name for field in fields(ModelSource)) | LLAMA_CPP_OPTIONS) - {
    *_SETTINGS
}
"""Options of the local engine that say how the model is loaded."""

LOCAL_OPTIONS = (SOURCE_OPTIONS | _LIMITS | {"cuda_graphs"}) - {*_SETTINGS}
"""All options of the local engine: those of `LocalEngine.from_pretrained`."""


def check_options(
    engine: EngineName, device: str, backend: BackendName, options: Mapping[str, Any]
) -> None:
    """Refuses options that are settings, and what this kind of engine does not take.

    Which options vLLM has is known only where it is installed; see `check_engine`.

    Args:
        engine: The kind of engine.
        device: The setting of this name.
        backend: The setting of this name.
        options: The options.

    Raises:
        InvalidParamsError: An option is a setting of the server's, a limit of the local engine or
            an option of llama.cpp is out of its range, or there is a device or a backend for vLLM.
        UnknownArgumentError: The engine has no such option.
    """
    for name in options.keys() & {*_SETTINGS}:
        raise InvalidParamsError(
            f"engine_options has {name!r}, which is a setting by itself: give {name}, on the "
            f"command line --{name.replace('_', '-')}."
        )
    if engine == "local":
        if unknown := options.keys() - LOCAL_OPTIONS:
            raise UnknownArgumentError.for_names("engine='local'", unknown, LOCAL_OPTIONS)
        with_llama_cpp_options(options)
        EngineLimits(**{name: options[name] for name in options.keys() & _LIMITS})
        if not isinstance(graphs := options.get("cuda_graphs", False), bool):
            raise InvalidParamsError(f"cuda_graphs={graphs!r:.80} is neither true nor false.")
    elif backend != "auto":
        raise InvalidParamsError(
            f"backend={backend!r} is for engine='local'. vLLM computes by itself: leave it out.",
            param="backend",
        )
    elif device != "auto":
        raise InvalidParamsError(
            f"device={device!r} is for engine='local'. vLLM takes the first device that it sees: "
            "leave device out, and set CUDA_VISIBLE_DEVICES=1 for the second one."
        )
