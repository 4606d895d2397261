"""Refuses models that cannot be run; imports torch and transformers only to read a config."""

from __future__ import annotations

from amulet_integrations.engine.model_source import EMBEDDED, ModelSource
from amulet_integrations.errors import InvalidRequestError

from .embedded import EMBEDDED_CONTEXT_WINDOW, check_embedded_model

_DTYPES = ("auto", "float32", "bfloat16", "float16", "float64")


def source_context_window(source: ModelSource) -> int:
    """Returns the context window of a source from its config, or refuses what cannot be run.

    Nothing is loaded or converted.

    Raises:
        MissingDependencyError: The embedded model is not installed.
        AmuletError: As `load_config`.
    """
    if source.model != EMBEDDED:
        from amulet_integrations.engine.backends.transformers.model_info import context_window  # noqa: PLC0415

        from .loader import load_config  # noqa: PLC0415 - seconds, which the embedded model saves

        return context_window(load_config(source))
    check_dtype(source)
    if source.device not in {"auto", "cpu"}:
        from .loader import find_device  # noqa: PLC0415

        find_device(source.device)
    check_embedded_model()
    return EMBEDDED_CONTEXT_WINDOW


def check_dtype(source: ModelSource) -> None:
    """Refuses a dtype that no model computes in.

    Raises:
        InvalidRequestError: The dtype is unknown.
    """
    if source.dtype not in _DTYPES:
        raise InvalidRequestError(
            f"dtype={source.dtype!r} is not one to decode in. Use {', '.join(map(repr, _DTYPES))}."
        )
