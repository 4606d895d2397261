"""JSON of what tools return, and which of its values are the bytes of a file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

DATA_KEYS = ("base64", "data", "file_data", "blob")
"""The names under which blocks hold the bytes of a file."""

DEEPEST = 64
"""The levels of dicts and lists in each other that are read."""

_BASE64 = re.compile(r"[A-Za-z0-9+/_\r\n-]{64,}+={0,2}")  # longer than any word
_DIGEST = re.compile(r"[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128}", re.IGNORECASE)
_DATA_URL = re.compile(r"data:[^,]{0,200};base64,")
_LONGER_THAN_A_TOKEN = 2000  # characters; signatures, keys and tokens have fewer


def is_data(name: object, value: object) -> bool:
    """Whether a value is the bytes of a file, as such or in base64.

    Hashes and tokens look like base64. So a string counts from 64 characters on where its name
    says that it is data, and elsewhere from 2,000 on.

    Args:
        name: The name of the value.
        value: The value.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        return True
    if not isinstance(value, str):
        return False
    if _DATA_URL.match(value):
        return True
    if len(value) < _LONGER_THAN_A_TOKEN and (name not in DATA_KEYS or _DIGEST.fullmatch(value)):
        return False
    return _BASE64.fullmatch(value) is not None


def named_values(value: Any, name: object = None) -> Iterator[tuple[object, Any]]:
    """Yields all values in a value that contain no others, each with the name next to it."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from named_values(inner, key)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from named_values(inner, name)
    else:
        yield name, value


def holds_data(value: Any) -> bool:
    """Whether a value is data, or has data in it."""
    return any(is_data(name, inner) for name, inner in named_values(value))


def is_too_deep(value: Any, levels: int = DEEPEST) -> bool:
    """Whether a value has more levels than are read, as one that holds itself has."""
    if not isinstance(value, Mapping | list | tuple):
        return False
    inner = value.values() if isinstance(value, Mapping) else value
    return levels <= 0 or any(is_too_deep(it, levels - 1) for it in inner)


def json_of(value: Any, in_place_of: Callable[[object, Any], Any]) -> str:
    """A value as JSON.

    Args:
        value: Any value that is not too deep; what JSON does not have is written as its `str`.
        in_place_of: What stands in the place of data with a name.
    """
    replaced = _replaced(value, None, in_place_of)
    try:
        return json.dumps(replaced, ensure_ascii=False, default=str)
    except (TypeError, ValueError):  # names that are no strings
        return str(replaced)


def _replaced(value: Any, name: object, in_place_of: Callable[[object, Any], Any]) -> Any:
    if isinstance(value, Mapping):
        return {key: _replaced(inner, key, in_place_of) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_replaced(inner, name, in_place_of) for inner in value]
    return in_place_of(name, value) if is_data(name, value) else value
