"""From pydantic's faults of a request to one error in OpenAI's form, which names the parameter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import Request

from .api_errors import ApiError

_MOST_FAULTS = 100  # that are looked at; a body may have very many


def error_of_faults(request: Request, faults: Sequence[Any], body: Any) -> ApiError:
    """What is wrong with a request: the first of the faults in full.

    Args:
        request: The request.
        faults: What FastAPI found, in pydantic's form.
        body: The body; bytes where its type is not JSON's.
    """
    if faults[0]["type"] == "json_invalid":
        reason = faults[0].get("ctx", {}).get("error", "")
        place = faults[0]["loc"][-1]
        message = f"The body is no JSON (at character {place}: {reason})."
        return ApiError(400, message, code="invalid_json")
    if isinstance(body, bytes) and body:
        sent = request.headers.get("Content-Type")
        return ApiError(
            415,
            f"The body's Content-Type is {sent!r:.100}. Send JSON, as application/json.",
            code="unsupported_media_type",
        )
    source, *_ = faults[0]["loc"] or ("body",)
    root = body if source == "body" else {}
    places = [(_place(it, root), it) for it in faults[:_MOST_FAULTS]]
    # Members of a union complain each; whoever got furthest knows best.
    first = places[0][0][:1]
    place, worst = max(
        (it for it in places if it[0][: len(first)] == first), key=lambda it: len(it[0])
    )
    messages = dict.fromkeys(_message(it) for where, it in places if where == place)
    param = _dotted(place)
    return ApiError(
        400,
        f"{param}: {' Or: '.join(messages)}" if param else " ".join(messages),
        param=param or None,
        code=_code(worst),
    )


def _code(fault: Any) -> str:
    kind = fault["type"]
    if "message" in fault.get("ctx", {}):  # a fault of ours
        return str(kind)
    if kind == "missing":
        return "missing_required_parameter"
    if kind == "extra_forbidden":
        return "unknown_parameter"
    return "invalid_type" if kind.endswith(("_type", "_parsing")) else "invalid_value"


def _message(fault: Any) -> str:
    message = str(fault["msg"]).removeprefix("Value error, ")
    ended = message if message.endswith((".", "?", "!")) else f"{message}."
    if fault["type"].startswith("datetime_"):
        # The plus of a time zone is a space in a query.
        ended += " Give a moment with a time zone, such as 2027-01-01T00:00Z."
    return ended


def _place(fault: Any, root: Any) -> tuple[str | int, ...]:
    """Where in the body a fault is, without pydantic's names for members of unions."""
    found: list[str | int] = []
    inside, parts = root, list(fault["loc"][1:])
    for index, part in enumerate(parts):
        if _is_in(part, inside):
            found.append(part)
            inside = inside[part]
        elif index == len(parts) - 1 and (fault["type"] == "missing" or not root):
            found.append(part)
    if name := fault.get("ctx", {}).get("name"):
        found.append(name)
    return tuple(found)


def _is_in(part: Any, value: Any) -> bool:
    """Whether a dict has this key, or a list this index."""
    if isinstance(value, list):
        return isinstance(part, int) and part < len(value)
    return isinstance(value, dict) and part in value


def _dotted(place: Sequence[str | int]) -> str:
    """A place as OpenAI writes it: messages[0].content."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".")[:200]
