"""Which parameter of a request an error is about that was found after the body had been read."""

from __future__ import annotations

import re

from amulet_integrations.errors import AmuletError
from amulet_integrations.serving.api_errors import ApiError

from .amulet_fields import AmuletFields
from .generation_options import GenerationOptions

_NAMES = {"max_new_tokens": "max_tokens", "min_new_tokens": "min_tokens"}
"""Parameters of the engine, and as what a client sends them."""

_PREFERENCE = re.compile(r"(?:profile\.)?preferences(?:\[(\d+)\])?(.*)", re.DOTALL)


def refusal_of(error: AmuletError, body: GenerationOptions) -> ApiError:
    """The answer to a request that an error ended; its `param` is a place in the body.

    Args:
        error: The error; its `param` is a name of this package's.
        body: The request.
    """
    answer = ApiError.of(error)
    answer.param = answer.param and _place_in_body(answer.param, body)
    return answer


def _place_in_body(param: str, body: GenerationOptions) -> str | None:
    """Where the client has written what an error names; None if it is from elsewhere."""
    amulet = body.amulet or AmuletFields()
    if (found := _PREFERENCE.fullmatch(param)) is not None:
        return _place_of_preference(found[1], found[2], amulet)
    param = _NAMES.get(param, param)
    name = re.split(r"[.\[]", param)[0]
    if name in AmuletFields.model_fields:
        return f"amulet.{param}" if getattr(amulet, name) is not None else None
    if name == "max_tokens" and body.max_tokens is None:
        name = "max_completion_tokens"
        return name if getattr(body, name, None) is not None else "max_tokens"
    return param if name in type(body).model_fields else None


def _place_of_preference(index: str | None, field: str, amulet: AmuletFields) -> str | None:
    """The place of a preference that the request brings; stored ones have none."""
    given = amulet.preference
    if given is None:
        return None
    if not isinstance(given, list):
        return "amulet.preference" + (field if isinstance(given, dict) else "")
    if index is None or int(index) >= len(given):
        return "amulet.preference"
    return f"amulet.preference[{index}]" + (field if isinstance(given[int(index)], dict) else "")
