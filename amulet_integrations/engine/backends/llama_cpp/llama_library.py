"""llama.cpp itself: imported when it is needed, with its messages in this package's log."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any

from amulet_integrations.errors import MissingDependencyError

logger = logging.getLogger(__name__)

_ERROR_LEVEL = 4  # GGML_LOG_LEVEL_ERROR
_LAST_ERRORS = 4

_errors: deque[str] = deque(maxlen=_LAST_ERRORS)
_callbacks: list[Any] = []  # llama.cpp calls them for as long as the process lives


@cache
def library() -> ModuleType:
    """Returns the low-level API of llama-cpp-python.

    From then on, what llama.cpp would print is logged at level DEBUG.

    Raises:
        MissingDependencyError: llama-cpp-python is not installed.
    """
    try:
        from llama_cpp import llama_cpp  # noqa: PLC0415 - an extra, and it loads a library
    except ImportError as error:
        raise MissingDependencyError.for_extra("llama-cpp-python", "llama-cpp") from error
    callback = llama_cpp.llama_log_callback(_log)
    _callbacks.append(callback)
    llama_cpp.llama_log_set(callback, None)
    llama_cpp.llama_backend_init()
    return llama_cpp  # type: ignore[no-any-return]


@contextmanager
def llama_errors() -> Iterator[deque[str]]:
    """Gives the last error messages of llama.cpp, from the beginning of the block on."""
    _errors.clear()
    yield _errors


def said(errors: deque[str]) -> str:
    """Returns what llama.cpp said, as the end of a message of ours."""
    return f" llama.cpp says: {'; '.join(errors)}" if errors else ""


def _log(level: int, text: bytes, _data: object) -> None:
    message = text.decode("utf-8", "replace").strip()
    if level == _ERROR_LEVEL and message:
        _errors.append(message)
    if logger.isEnabledFor(logging.DEBUG) and message.strip("."):
        logger.debug("%s", message)
