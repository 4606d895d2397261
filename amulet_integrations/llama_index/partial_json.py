"""Objects of JSON that is still being written."""

from __future__ import annotations

import re
from typing import Any

from pydantic_core import from_json

_HALF_A_NUMBER = re.compile(r"(?<=[0-9])(?:\.|\.?[eE][+-]?)$")
"""What a number cannot end with, and without which it has been read already."""


def parse_growing(text: str, before: dict[str, Any]) -> dict[str, Any]:
    """What can be read of an object's text; the last string and the last number may go on.

    Args:
        text: All of it that has been written.
        before: What could be read of it a moment ago.

    Returns:
        The object so far; `before` where the text says nothing yet.
    """
    try:
        found = from_json(_HALF_A_NUMBER.sub("", text), allow_partial="trailing-strings")
    except ValueError:
        return before
    return found if isinstance(found, dict) else before
