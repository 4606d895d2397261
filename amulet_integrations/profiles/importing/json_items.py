"""Files of JSON: one object, a list, or an object on each line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import from_json

from amulet_integrations.errors import InvalidProfileError


def read_items(text: str, what: str) -> list[tuple[str, Any]]:
    """Reads a file.

    Args:
        text: The file: a JSON list, a JSON object, or JSON lines.
        what: What is expected, for messages, such as "memories of mem0".

    Returns:
        Each item with its place: "[3]" in a list, "line 3" in lines; "" for a single object.

    Raises:
        InvalidProfileError: It is no JSON, or there is nothing in it.
    """
    if not isinstance(text, str):
        raise InvalidProfileError(
            f"The text to import is a {type(text).__name__}; {what} were expected, as JSON."
        )
    text = text.removeprefix("\ufeff")
    if not text.strip():
        raise InvalidProfileError(f"There is nothing to import; {what} were expected, as JSON.")
    try:
        whole = _parsed(text)
    except ValueError as error:
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        if len(lines) < 2 or not _is_json(lines[0][1]):  # noqa: PLR2004 - a file of lines has several
            raise InvalidProfileError(f"It is no JSON: {error}. Expected were {what}.") from None
        return [(f"line {number}", _line(number, line, what)) for number, line in lines]
    if isinstance(whole, list):
        return [(f"[{number}]", item) for number, item in enumerate(whole)]
    one_line = "\n" not in text.strip()
    return [("line 1" if one_line else "", whole)]


def check_object(place: str, item: object, expected: str) -> Mapping[str, Any]:
    """Refuses everything but an object.

    Raises:
        InvalidProfileError: It is something else.
    """
    if isinstance(item, Mapping):
        return item
    raise InvalidProfileError(f"{at(place)} is a {type(item).__name__}; expected was {expected}.")


def check_text(place: str, item: Mapping[str, Any], name: str, expected: str) -> str:
    """The text in a field.

    Raises:
        InvalidProfileError: There is none, or something else.
    """
    value = item.get(name)
    if isinstance(value, str) and value.strip():
        return value
    found = f"{name} is {_found(item, name)}"
    raise InvalidProfileError(f"{at(place)}: {found}; expected was {expected}.")


def at(place: str) -> str:
    """A place, for the beginning of a message."""
    return place or "What is to be imported"


def _found(item: Mapping[str, Any], name: str) -> str:
    if name not in item:
        fields = ", ".join(repr(str(it)[:40]) for it in list(item)[:10])
        return f"missing among {fields or 'no fields'}"
    return "blank" if isinstance(item[name], str) else f"a {type(item[name]).__name__}"


def _line(number: int, line: str, what: str) -> Any:
    try:
        return _parsed(line)
    except ValueError as error:
        raise InvalidProfileError(
            f"line {number} is no JSON: {error}. Expected were {what}, one on each line."
        ) from None


def _is_json(line: str) -> bool:
    try:
        _parsed(line)
    except ValueError:
        return False
    return True


def _parsed(text: str) -> Any:
    try:
        return from_json(text, allow_inf_nan=False)
    except TypeError as error:  # half of a surrogate pair
        raise ValueError(str(error)) from None
