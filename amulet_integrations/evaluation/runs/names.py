"""Names of what is compared: each once, and short enough for a table."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)


def repeated(names: Iterable[Name]) -> Name | None:
    """The first name that stands there a second time; None where each stands once."""
    seen: set[Name] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def shortened(text: str, longest: int) -> str:
    """A text on one line, with a sign in place of what is too long."""
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"
