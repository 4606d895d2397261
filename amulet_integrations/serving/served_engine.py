"""The engine of a server's settings: checked when the server is made, loaded when it starts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from amulet_integrations.engine.model_source import ModelSource, with_llama_cpp_options
from amulet_integrations.engine.protocol import Engine
from amulet_integrations.engine.worker import run_on_worker

from .engine_options import SOURCE_OPTIONS

if TYPE_CHECKING:
    from amulet_integrations.engine import LocalEngine, VLLMEngine

    from .settings import ServerSettings

_SOURCE_OF_VLLM = ("revision", "trust_remote_code")  # vLLM's names of what transformers has, too


def check_engine(settings: ServerSettings) -> None:
    """Refuses an engine that is not installed, or that has no such options. Loads no model.

    Raises:
        MissingDependencyError: vLLM is not installed.
        UnsupportedByEngineError: vLLM has another version, or cannot serve with an option.
        UnknownArgumentError: vLLM has no such option.
    """
    if settings.engine == "vllm":
        run_on_worker(_import_vllm_engine).check_options(**_vllm_options(settings))


def source_fields(settings: ServerSettings) -> dict[str, Any]:
    """The fields of the `ModelSource` that the settings name."""
    options = settings.engine_options
    if settings.engine == "vllm":
        # Its names for dtypes are more than ours, and it checks them itself.
        given = {name: options[name] for name in _SOURCE_OF_VLLM if name in options}
        return {"model": settings.model, "dtype": "auto", "device": "auto", **given}
    given = {name: value for name, value in options.items() if name in SOURCE_OPTIONS}
    return {
        "model": settings.model,
        "dtype": settings.dtype,
        "device": settings.device,
        "backend": settings.backend,
        **with_llama_cpp_options(given),
    }


def load_engine(settings: ServerSettings) -> Engine:
    """Loads the model. This is the one place where a server's engine is made.

    Raises:
        AmuletError: As `LocalEngine.from_pretrained` and `VLLMEngine`.
    """
    if settings.engine == "vllm":
        return run_on_worker(_import_vllm_engine)(
            settings.model, max_waiting=settings.max_waiting, **_vllm_options(settings)
        )
    options = settings.engine_options
    others = {name: value for name, value in options.items() if name not in SOURCE_OPTIONS}
    return run_on_worker(_import_local_engine).from_source(
        ModelSource(**source_fields(settings)), max_waiting=settings.max_waiting, **others
    )


def _vllm_options(settings: ServerSettings) -> dict[str, Any]:
    dtype = {} if settings.dtype == "auto" else {"dtype": settings.dtype}
    return {"use_tqdm_on_load": False, **dtype, **settings.engine_options}


def _import_local_engine() -> type[LocalEngine]:
    """Imports torch on the worker, for whose end the interpreter waits when it exits."""
    from amulet_integrations.engine import LocalEngine  # noqa: PLC0415

    return LocalEngine


def _import_vllm_engine() -> type[VLLMEngine]:
    """The same for vLLM, which leaves its lines to the server's log unless somebody decided."""
    from amulet_integrations.engine import VLLMEngine  # noqa: PLC0415

    os.environ.setdefault("VLLM_CONFIGURE_LOGGING", "0")
    return VLLMEngine
