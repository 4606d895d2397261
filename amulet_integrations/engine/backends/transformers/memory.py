"""How much memory there is, and giving back what was freed."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch

# Libraries that torch calls, and its own CPU allocator, have no error class for it.
_SAID_WITHOUT_ROOM = ("DefaultCPUAllocator", "STATUS_ALLOC_FAILED", "CUDA error: out of memory")
_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


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
        isinstance(error, RuntimeError) and any(said in str(error) for said in _SAID_WITHOUT_ROOM)
    )


def free_device_memory() -> None:
    """Gives back what torch keeps of a device's memory for later."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def available_memory() -> int | None:
    """Bytes of memory that this process can still have, where the system tells (Linux).

    The least of what the machine has and of what each of the process's control groups (version 2)
    leaves it: in a container, the machine's memory is not the container's.
    """
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        (available,) = (int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, ValueError):
        return None
    return min([available * 1024, *_left_in_cgroups()])


def _left_in_cgroups() -> Iterator[int]:
    """Bytes that every control group with a bound leaves, from the process's own upwards."""
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
    """Bytes that a group holds of files, which it gives up where memory is needed."""
    lines = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
    stat = dict(line.split() for line in lines)
    return int(stat["inactive_file"]) + int(stat["active_file"])
