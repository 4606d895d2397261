"""The errors of FastAPI and Starlette in OpenAI's form."""

from __future__ import annotations

import sys

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from amulet_integrations.errors import AmuletError

from .api_errors import ApiError
from .operations.error_answers import error_response
from .operations.request_record import path_below_root
from .request_faults import error_of_faults

_ASK = "Ask by POST /v1/chat/completions."
_ELSEWHERE = {
    "responses": _ASK,
    "messages": _ASK,
    "assistants": _ASK,
    "threads": _ASK,
    "embeddings": "This server's model writes text and makes no embeddings.",
    "engines": "The model is listed by GET /v1/models.",
}
"""What to do in place of parts of OpenAI's API that are not here, by the first part of the path."""

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_BELOW_V1 = ("chat", "completions", "embeddings", "me", "models", "profiles", "responses")


def add_error_handlers(app: FastAPI) -> None:
    """Makes every error of an application one in OpenAI's form."""
    app.add_exception_handler(AmuletError, _answer)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(UnicodeEncodeError, _answer_unencodable)


async def _answer(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AmuletError)  # noqa: S101 - it is registered for these
    return error_response(ApiError.of(error))


async def _answer_invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - it is registered for these
    return await _answer(request, error_of_faults(request, error.errors(), error.body))


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
    status, path = error.status_code, path_below_root(request.scope)
    headers = error.headers or {}
    if status == 404:  # noqa: PLR2004 - HTTP's
        message = f"There is no {request.method} {path[:200]} here. {_hint(path)}".rstrip()
        return ApiError.not_found(message, code="unknown_url")
    if status == 405:  # noqa: PLR2004 - HTTP's
        allowed = {"Allow": ", ".join(sorted(_allowed_methods(request)))}
        message = f"{request.method} is not allowed for {path[:200]}. Use {allowed['Allow']}."
        return ApiError(405, message, code="method_not_allowed", headers={**headers, **allowed})
    if status == 400:  # noqa: PLR2004 - HTTP's
        return ApiError(400, _unreadable(error.__cause__), code="invalid_json")
    return ApiError(status, str(error.detail), headers=headers)


def _unreadable(cause: BaseException | None) -> str:
    """Why a body cannot be read, by what the JSON parser raised."""
    if isinstance(cause, RecursionError):
        return "The body is nested too deeply to be read. Leave the inner lists and objects out."
    if isinstance(cause, ValueError) and not isinstance(cause, UnicodeError):
        most = sys.get_int_max_str_digits()
        return f"The body has a whole number of more than {most:,} digits. Write a smaller one."
    return "The body cannot be read. Send JSON in UTF-8."


def _allowed_methods(request: Request) -> set[str]:
    """The methods of all routes of a path; Starlette names those of the first one only."""
    found: set[str] = set()
    for method in _METHODS:
        scope = {**request.scope, "method": method}
        if any(route.matches(scope)[0] == Match.FULL for route in request.app.routes):
            found.add(method)
    return found


def _hint(path: str) -> str:
    """What to do in place of asking a path that is not here; empty where nothing is known."""
    first, *rest = path.strip("/").split("/")
    if first == "api":
        return "Choose OpenAI's API in the client, not Ollama's, with a base URL that ends in /v1."
    if first in _BELOW_V1:
        return "OpenAI's API is below /v1: the client's base URL has to end in /v1."
    if first != "v1":
        return ""
    if not rest:
        return "This is the base URL of clients. GET /v1/models lists the model."
    if rest[0] == "v1":
        return "The path has /v1 twice: the client adds its own. Leave it out of the base URL."
    return _ELSEWHERE.get(rest[0], "")
