"""How much memory there is, and giving back what was freed."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch


def give_back_memory() -> None:
    """Gives freed memory back, where the C library keeps it (glibc); does nothing elsewhere.

    Caches and activations of changing sizes leave holes in a thread's heap that glibc would keep
    for ever: hundreds of megabytes after a busy minute. It takes 2 to 40 ms.
    """
    gc.collect(1)  # errors and the frames that they came through hold each other
    if trim := _malloc_trim():
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):  # another C library, another system
        return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on a device or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    )


def free_device_memory() -> None:
    """Gives back what torch keeps of a device's memory for later."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def available_memory() -> int | None:
    """Bytes of the machine's memory that can be had, where the system tells (Linux)."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        (available,) = (int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, ValueError):
        return None
    return available * 1024
