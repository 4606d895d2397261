"""Objects of JSON that is still being written."""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json


def parse_growing(text: str, before: dict[str, Any]) -> dict[str, Any]:
    """What can be read of an object's text; the last string and the last number may go on.

    Args:
        text: All of it that has been written.
        before: What could be read of it a moment ago.

    Returns:
        The object so far; `before` where the text says nothing yet.
    """
    try:
        found = from_json(text, allow_partial="trailing-strings")
    except ValueError:
        return before
    return found if isinstance(found, dict) else before
