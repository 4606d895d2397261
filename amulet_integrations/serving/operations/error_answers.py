"""Errors as a response and as an event, for what surrounds routes and for streams."""

from __future__ import annotations

import json

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from amulet_integrations.serving.api_errors import ApiError

from .request_record import note_error


def error_response(error: ApiError) -> JSONResponse:
    """The answer to a request that ends with an error."""
    note_error(error.status, error.code)
    return JSONResponse(error.body, status_code=error.status, headers=dict(error.headers))


async def send_error(error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answers a request with an error."""
    await error_response(error)(scope, receive, send)


def error_event(error: ApiError) -> bytes:
    """The error as the last event of a stream that has begun; no `[DONE]` follows it."""
    note_error(error.status, error.code)
    return f"data: {json.dumps(error.body)}\n\n".encode()
