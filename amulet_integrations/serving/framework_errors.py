"""The errors of FastAPI and Starlette in OpenAI's form."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

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

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
# FastAPI's own would trace paths, in which users are named, and log the messages of exceptions.
NO_TELEMETRY: dict[str, Any] = {
    "telemetry": {"tracing": False, "metrics": False, "logs": False, "operation_spans": False}
}


def _unknown(_path: str) -> str:
    return ""


def add_error_handlers(app: FastAPI, *, path_hint: Callable[[str], str] = _unknown) -> None:
    """Makes every error of an application one in OpenAI's form.

    Args:
        app: The application.
        path_hint: f(path) says what to do in place of asking a path that is not there, or "".
    """
    app.add_exception_handler(AmuletError, answer_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(HTTPException, partial(_answer_http, path_hint=path_hint))
    app.add_exception_handler(UnicodeEncodeError, _answer_unencodable)


async def answer_error(_request: Request, error: Exception) -> JSONResponse:
    """The answer to a request that an `AmuletError` ended, as an exception handler."""
    assert isinstance(error, AmuletError)  # noqa: S101 - it is registered for these
    return error_response(ApiError.of(error))


async def _answer_invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - it is registered for these
    return await answer_error(request, error_of_faults(request, error.errors(), error.body))


async def _answer_http(
    request: Request, error: Exception, *, path_hint: Callable[[str], str]
) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for these
    return await answer_error(request, _http_error(request, error, path_hint))


async def _answer_unencodable(request: Request, _error: Exception) -> JSONResponse:
    message = (
        "The request holds half of a surrogate pair, such as \\ud83d alone, which is no character. "
        "Send both halves."
    )
    return await answer_error(request, ApiError(400, message, code="invalid_text"))


def _http_error(
    request: Request, error: HTTPException, path_hint: Callable[[str], str]
) -> ApiError:
    status, path = error.status_code, path_below_root(request.scope)
    headers = error.headers or {}
    if status == 404:  # noqa: PLR2004 - HTTP's
        message = f"There is no {request.method} {path[:200]} here. {path_hint(path)}".rstrip()
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
