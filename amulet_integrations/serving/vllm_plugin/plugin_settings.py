"""What the operator decides, in the environment: by the names of `amulet serve`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from amulet_integrations.errors import InvalidParamsError
from amulet_integrations.serving.settings import ServerSettings

_YES, _NO = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}


def read_settings(environment: Mapping[str, str] = os.environ) -> ServerSettings:
    """Reads the settings of the plug-in.

    They are AMULET_PROFILES, AMULET_KEYS, AMULET_USER_HEADERS, AMULET_MAX_GUIDANCE_SCALE,
    AMULET_PREFERENCE_CHECK and AMULET_SHARE_PREFIXES.

    Args:
        environment: The variables. An empty one counts as not set.

    Returns:
        The settings; the others have their defaults, and mean nothing here.

    Raises:
        InvalidParamsError: A value is not valid.
    """
    given: dict[str, Any] = {}
    for field, read in _READ.items():
        if text := environment.get(f"AMULET_{field.upper()}", "").strip():
            given[field] = read(field, text)
    return ServerSettings(**given)


def _text(_field: str, text: str) -> str:
    return text


def _names(_field: str, text: str) -> tuple[str, ...]:
    return tuple(text.replace(",", " ").split())


def _number(field: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidParamsError(f"AMULET_{field.upper()}={text!r:.80}: give a number.") from None


def _switch(field: str, text: str) -> bool:
    if text.lower() not in _YES | _NO:
        raise InvalidParamsError(f"AMULET_{field.upper()}={text!r:.80}: give true or false.")
    return text.lower() in _YES


_READ = {
    "profiles": _text,
    "keys": _text,
    "user_headers": _names,
    "max_guidance_scale": _number,
    "preference_check": _text,
    "share_prefixes": _switch,
}
