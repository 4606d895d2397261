"""The errors of FastAPI and Starlette in OpenAI's form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from amulet_integrations.errors import AmuletError

from .api_errors import ApiError
from .operations.request_record import note_error

_ELSEWHERE = {
    "responses": "Ask by POST /v1/chat/completions.",
    "embeddings": "This server's model writes text and makes no embeddings.",
    "engines": "The model is listed by GET /v1/models.",
}
"""What to do in place of parts of OpenAI's API that are not here, by the first part of the path."""


def add_error_handlers(app: FastAPI) -> None:
    """Makes every error of an application one in OpenAI's form."""
    app.add_exception_handler(AmuletError, _answer)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(UnicodeEncodeError, _answer_unencodable)


async def _answer(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AmuletError)  # noqa: S101 - it is registered for these
    answer = ApiError.of(error)
    note_error(answer.code)
    return JSONResponse(answer.body, status_code=answer.status, headers=dict(answer.headers))


async def _answer_invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - it is registered for these
    return await _answer(request, _error_of(request, error.errors(), error.body))


async def _answer_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for these
    return await _answer(request, _http_error(request, error))


async def _answer_unencodable(request: Request, _error: Exception) -> JSONResponse:
    message = (
        "The request holds half of a surrogate pair, such as \\ud83d alone, which is no character. "
        "Send both halves."
    )
    return await _answer(request, ApiError(400, message, code="invalid_text"))


def _http_error(request: Request, error: HTTPException) -> ApiError:
    status, path = error.status_code, request.url.path
    headers = error.headers or {}
    if status == 404:  # noqa: PLR2004 - HTTP's
        first = path.removeprefix("/v1/").partition("/")[0]
        hint = f" {_ELSEWHERE[first]}" if path.startswith("/v1/") and first in _ELSEWHERE else ""
        message = f"There is no {request.method} {path[:200]} here.{hint}"
        return ApiError.not_found(message, code="unknown_url")
    if status == 405:  # noqa: PLR2004 - HTTP's
        allowed = headers.get("Allow", "another method")
        message = f"{request.method} is not allowed for {path[:200]}. Use {allowed}."
        return ApiError(405, message, code="method_not_allowed", headers=headers)
    if status == 400:  # noqa: PLR2004 - HTTP's
        return ApiError(400, "The body cannot be read. Send JSON in UTF-8.", code="invalid_json")
    return ApiError(status, str(error.detail), headers=headers)


def _error_of(request: Request, faults: Sequence[Any], body: Any) -> ApiError:
    """What is wrong with a request, from pydantic's faults: the first one, in full."""
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
    places = [(_place(it, root), it) for it in faults]
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
    return message if message.endswith((".", "?", "!")) else f"{message}."


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
