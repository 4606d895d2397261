"""How much memory is free, whether an allocation failed, and returning freed memory."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch

# torch's CPU allocator and the libraries that torch calls have no error class for it.
_ALLOCATION_MESSAGES = ("DefaultCPUAllocator", "STATUS_ALLOC_FAILED", "CUDA error: out of memory")
_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


def trim_heap() -> None:
    """Returns freed memory to the system where the C library keeps it (glibc).

    Caches and activations of changing sizes leave holes in a thread's heap that glibc would keep
    for ever: hundreds of megabytes after a busy minute. It takes 2 to 40 ms.
    """
    gc.collect(1)  # errors and the frames that they came through refer to each other
    if trim := _malloc_trim():
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):  # another C library, another system
        return None


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether an allocation failed, on a device or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError)
        and any(message in str(error) for message in _ALLOCATION_MESSAGES)
    )


def free_device_memory() -> None:
    """Returns the device memory that torch keeps for later."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def available_memory() -> int | None:
    """Returns the bytes of memory that this process can still get; None if the system hides it.

    On Linux, that is the least of what the machine has free and of what each of the process's
    control groups (version 2) allows: a container has less memory than its machine.
    """
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        (available,) = (int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, ValueError):
        return None
    return min([available * 1024, *_free_in_cgroups()])


def _free_in_cgroups() -> Iterator[int]:
    """Yields the bytes that each bounded control group leaves, from the process's own upwards."""
    try:
        own = _OWN_CGROUP.read_text(encoding="utf-8").partition("0::/")[2].split("\n")[0]
    except (OSError, ValueError):
        return
    group = _CGROUPS / own
    for folder in (group, *group.parents):
        with suppress(OSError, ValueError, KeyError):  # "max" is no number
            bound = int((folder / "memory.max").read_text(encoding="ascii"))
            used = int((folder / "memory.current").read_text(encoding="ascii"))
            yield max(0, bound - used + _file_cache(folder))


def _file_cache(folder: Path) -> int:
    """Returns the bytes of a group's file cache, which the kernel drops where memory is needed."""
    lines = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
    stat = dict(line.split() for line in lines)
    return int(stat["inactive_file"]) + int(stat["active_file"])
