"""Ctrl-C: a line on stderr and exit code 130, whenever it comes and however often."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

INTERRUPTED = 130
MESSAGE = "Interrupted."

_IMPORT_SYSTEM = "<frozen importlib"
_SHOW_CURSOR = b"\x1b[?25h"


def handle() -> None:
    """From now on, Ctrl-C raises KeyboardInterrupt, so that a command closes what it opened.

    While a module is imported, it ends the process at once: modules in C++, such as torch, abort
    on an exception there. Whoever started the process may want it ignored (`nohup`); so it stays.
    """
    if _on_main_thread() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _raise_or_end)


def ignore() -> None:
    """From now on, Ctrl-C does nothing: the process is about to exit."""
    if _on_main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def report() -> None:
    """Says on stderr that the command was interrupted."""
    os.write(2, f"{MESSAGE}\n".encode())


def _raise_or_end(_number: int, frame: FrameType | None) -> None:
    while frame is not None:
        if frame.f_code.co_filename.startswith(_IMPORT_SYSTEM):
            _end()
        frame = frame.f_back
    raise KeyboardInterrupt


def _end() -> None:
    report()
    if os.isatty(1):
        os.write(1, _SHOW_CURSOR)  # progress bars hide it
    os._exit(INTERRUPTED)


def _on_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
