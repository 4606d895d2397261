"""How long a preference may be: the operator's to set, for the whole process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from amulet_integrations.errors import InvalidParamsError

LONGEST_TEXT = 2_000
"""Most characters of a preference's text, unless the operator says otherwise."""

VARIABLE = "AMULET_MAX_PREFERENCE_CHARS"
"""The environment variable by which the operator says otherwise."""

# Pydantic hands no context of its own on to models with an `__init__`.
_from_a_store: ContextVar[bool] = ContextVar("amulet_from_a_store", default=False)


@contextmanager
def as_stored() -> Iterator[None]:
    """Accepts texts of any length in the block: what is stored was within the limit once."""
    before = _from_a_store.set(True)
    try:
        yield
    finally:
        _from_a_store.reset(before)


def is_too_long(text: str) -> bool:
    """Whether the text of a preference is longer than it may be.

    Raises:
        InvalidParamsError: The environment variable holds no whole number above 0.
    """
    return not _from_a_store.get() and len(text) > longest_text()


def longest_text() -> int:
    """Most characters that the text of a preference may have.

    Every preference in force is read by the model for every answer, so a long one costs time and
    room in the context window.

    Raises:
        InvalidParamsError: The environment variable holds no whole number above 0.
    """
    value = os.environ.get(VARIABLE, "").strip()
    if not value:
        return LONGEST_TEXT
    if value.isascii() and value.isdigit() and int(value) > 0:
        return int(value)
    raise InvalidParamsError(
        f"The environment variable {VARIABLE}={value[:80]!r} is no whole number above 0. Set it to "
        f"the most characters that a preference may have, or unset it for {LONGEST_TEXT:,}."
    )
