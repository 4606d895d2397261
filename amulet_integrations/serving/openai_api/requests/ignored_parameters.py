"""Parameters that the operator lets pass, although nobody here knows them."""

from __future__ import annotations

from collections.abc import Collection
from contextvars import ContextVar

_IGNORED: ContextVar[frozenset[str]] = ContextVar("ignored_parameters", default=frozenset())


def let_pass(names: Collection[str]) -> None:
    """Allows bodies that are read in this task to hold these names beside those of their model."""
    _IGNORED.set(frozenset(names))


def ignored_parameters() -> frozenset[str]:
    """The names that the body that is being read may hold beside those of its model."""
    return _IGNORED.get()
