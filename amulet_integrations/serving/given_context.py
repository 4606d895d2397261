"""What a call is about, as requests give it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from amulet_integrations.profiles.conditions import MOST_ENTRIES


def without_nulls(given: Any) -> Any:
    """An object without what is null, which stands for what is left out; else the value itself."""
    if not isinstance(given, dict):
        return given
    return {name: value for name, value in given.items() if value is not None}


def _read(given: Any) -> Any:
    # Counted first, because each wrong entry would be a fault.
    if isinstance(given, dict) and len(given) > MOST_ENTRIES:
        raise PydanticCustomError(
            "too_long",
            "It has {count} entries; at most {most} are allowed.",
            {"count": len(given), "most": MOST_ENTRIES},
        )
    return without_nulls(given)


GivenContext = Annotated[dict[str, str], BeforeValidator(_read)]
"""The values of a context by their names, for preferences that have a `when`."""
