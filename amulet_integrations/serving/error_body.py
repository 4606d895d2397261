"""The form of errors, for the description of the API."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

_MEANINGS = {
    400: "The request is not valid.",
    401: "The key is missing or wrong.",
    403: "The key may not do this.",
    404: "There is no such thing.",
    408: "The body has not arrived in time.",
    409: "Others changed it at the same time.",
    412: "The stored version is not the one that the request demands.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    429: "Too much is in work.",
    500: "The server failed.",
    503: "The server cannot answer now.",
    504: "It took too long.",
}


class ErrorDetails(BaseModel):
    """What is wrong, as OpenAI's API says it."""

    message: str = Field(description="What is wrong, and what to do.")
    type: str = Field(description="The kind of error, such as `invalid_request_error`.")
    param: str | None = Field(description="The field of the request that is meant.")
    code: str | None = Field(description="The error by name, such as `profile_not_found`.")


class ErrorBody(BaseModel):
    """The body of every answer that is an error."""

    error: ErrorDetails


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describes errors of a route, for its argument `responses`."""
    return {status: {"model": ErrorBody, "description": _MEANINGS[status]} for status in statuses}


OTHER_FAULTS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorBody, "description": "Another fault of the request."}
}
"""In place of FastAPI's own form of errors, 422, which no route answers with."""

GUARDED_ERRORS = error_responses(400, 401, 403, 408, 413, 429, 500, 503) | OTHER_FAULTS
"""What each route below /v1 may answer with: errors of the key, the bounds and the server."""
