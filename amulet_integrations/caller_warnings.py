"""Warnings that point at the line of the user's code which led to them."""

from __future__ import annotations

import sys
import warnings
from typing import Any

from amulet_integrations.concurrency.fork_safe import ForkSafeLock

# Warnings point at the line that called one of these.
_LIBRARIES = {
    __name__.partition(".")[0],
    "asyncio",
    "concurrent",
    "contextlib",
    "contextvars",
    "langchain",
    "langchain_core",
    "langgraph",
    "langsmith",
    "llama_index",
    "llama_index_instrumentation",
    "threading",
    "wrapt",
}

MOST_REMEMBERED = 1000
"""Warnings that are remembered, in order to be shown once; then all of them are forgotten."""

_shown: dict[Any, Any] = {}  # what `warnings` calls a registry
_lock = ForkSafeLock()


def warn_caller(message: str, category: type[Warning], *, once: bool = False) -> None:
    """Warns at the line outside of the libraries; on their threads, at the line here.

    Python keeps a record of every message that was shown, for good. This passes that record over,
    because messages name users and what they sent.

    Args:
        message: The message.
        category: The class of the warning.
        once: Whether the same message is shown once for each line, as Python does for warnings
            until a filter changes. Messages are remembered for that, within bounds.
    """
    frame = here = sys._getframe()  # noqa: SLF001 - as `warnings.warn` does
    while frame.f_back is not None and _package(frame.f_globals) in _LIBRARIES:
        frame = frame.f_back
    if _package(frame.f_globals) in _LIBRARIES:
        frame = here
    place = (frame.f_code.co_filename, frame.f_lineno, str(frame.f_globals.get("__name__", "")))
    if not once:
        warnings.warn_explicit(message, category, *place)
        return
    with _lock:
        if len(_shown) > MOST_REMEMBERED:
            _shown.clear()
    warnings.warn_explicit(message, category, *place, registry=_shown)


def _package(scope: dict[str, object]) -> str:
    return str(scope.get("__name__", "")).partition(".")[0]
