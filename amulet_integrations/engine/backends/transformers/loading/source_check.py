"""Refuses models that cannot be run; imports torch and transformers only to read a config."""

from __future__ import annotations

from amulet_integrations.engine.backends.given_template import given_template
from amulet_integrations.engine.model_source import EMBEDDED, ModelSource

from .embedded import EMBEDDED_CONTEXT_WINDOW, check_embedded_model


def source_context_window(source: ModelSource) -> int:
    """Returns the context window of a source from its config, or refuses what cannot be run.

    Nothing is loaded or converted.

    Raises:
        MissingDependencyError: The embedded model is not installed.
        AmuletError: As `load_config`.
    """
    source.check_backend()
    if source.chat_template is not None:
        given_template(source.chat_template)
    if source.uses_llama_cpp:
        from amulet_integrations.engine.backends.llama_cpp.llama_loader import (  # noqa: PLC0415
            llama_cpp_context_window,
        )

        return llama_cpp_context_window(source)
    if source.model != EMBEDDED:
        from amulet_integrations.engine.backends.transformers.model_info import context_window  # noqa: PLC0415

        from .loader import load_config  # noqa: PLC0415 - seconds, which the embedded model saves

        return context_window(load_config(source))
    source.check_dtype()
    if source.device not in {"auto", "cpu"}:
        from .loader import find_device  # noqa: PLC0415

        find_device(source.device)
    check_embedded_model()
    return EMBEDDED_CONTEXT_WINDOW
