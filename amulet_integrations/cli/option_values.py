"""Options of the command line that hold a name and a value."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from amulet_integrations.errors import InvalidParamsError


def read_named_values(option: str, texts: Iterable[str]) -> dict[str, Any]:
    """Reads options such as ``max_model_len=4096``.

    Args:
        option: The option, for the message.
        texts: What was given: a name, "=" and a value. The name may be written with "-". A value
            that is JSON (4096, true, null, "4096", {"a": 1}) is what JSON says; any other is text.

    Returns:
        The values by their names.

    Raises:
        InvalidParamsError: There is no name or no "=", or a name comes twice.
    """
    values: dict[str, Any] = {}
    for text in texts:
        written, equals, value = text.partition("=")
        name = written.strip().lstrip("-").replace("-", "_")
        if not name or not equals:
            raise InvalidParamsError(
                f"{option} {text!r:.80}: write a name, '=' and a value, such as "
                f"{option} max_model_len=4096."
            )
        if name in values:
            raise InvalidParamsError(f"{option} gives {name!r:.80} twice. Leave one of them out.")
        values[name] = _value_of(value.strip())
    return values


def _value_of(text: str) -> Any:
    with suppress(ValueError):
        return json.loads(text, parse_constant=_refuse_constant)
    return text


def _refuse_constant(name: str) -> None:
    """NaN and Infinity are no JSON, although Python reads them."""
    raise ValueError(name)
