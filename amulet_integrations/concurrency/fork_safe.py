"""What a forked child makes anew.

A child has a copy of all that its parent's threads were doing, but it does not have the threads.
What one of them held at that moment would never become free.
"""

from __future__ import annotations

import os
from threading import Lock, get_ident
from typing import Protocol
from weakref import WeakSet


class Resettable(Protocol):
    """Something that can begin anew."""

    def reset(self) -> None:
        """Forgets what the threads of the parent were doing."""


_resettable: WeakSet[Resettable] = WeakSet()


def reset_in_child(resettable: Resettable) -> None:
    """Resets an object in every forked child, before `os.fork` returns there.

    Args:
        resettable: The object, which is held weakly.
    """
    _resettable.add(resettable)


class ForkSafeLock:
    """A lock for `with` that is free in a forked child, unless the thread that forked holds it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._holder: int | None = None
        reset_in_child(self)

    def __enter__(self) -> None:
        self._lock.acquire()
        self._holder = get_ident()

    def __exit__(self, *_: object) -> None:
        self._holder = None
        self._lock.release()

    def reset(self) -> None:
        """Frees the lock, unless this thread holds it."""
        if self._holder != get_ident():
            self._lock, self._holder = Lock(), None


def _reset_all() -> None:
    for resettable in list(_resettable):  # some make others, which are new already
        resettable.reset()


if hasattr(os, "register_at_fork"):  # Windows has no forks.
    os.register_at_fork(after_in_child=_reset_all)
