"""For which of several groups of users the current work is done, where groups share threads.

An application that has many users is such a group: it may name as many as it likes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_current: ContextVar[str | None] = ContextVar("amulet_thread_group", default=None)


def current_group() -> str | None:
    """The group; None where the work belongs to none."""
    return _current.get()


def join_group(group: str | None) -> None:
    """Counts what this task does from now on, and what it starts, as work of a group."""
    _current.set(group)


@contextmanager
def group_restored() -> Iterator[None]:
    """Ends what the block has joined: whoever called may go on with work of others."""
    before = _current.get()
    try:
        yield
    finally:
        _current.set(before)
