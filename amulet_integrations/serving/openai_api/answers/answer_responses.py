"""The responses to requests for answers, for the description of the API."""

from __future__ import annotations

from typing import Any

from amulet_integrations.serving.error_body import ErrorBody, error_responses

_EVENT = {
    "type": "object",
    "properties": {
        "data": {
            "type": "string",
            "description": "A chunk in OpenAI's form, as JSON, or an error; at the end `[DONE]`.",
        }
    },
    "required": ["data"],
    "description": "Where `stream` is true: each server-sent event.",
}

ANSWER_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer, whole or as events.",
        "content": {"text/event-stream": {"schema": _EVENT}},
    },
    **error_responses(400, 401, 403, 404, 413, 429, 500, 503, 504),
    408: {"model": ErrorBody, "description": "The body has not arrived in time."},
    415: {"model": ErrorBody, "description": "The body is not JSON."},
    # In place of FastAPI's own form of errors, 422.
    "4XX": {"model": ErrorBody, "description": "Another fault of the request."},
}
"""What a route may answer; pass it as `responses`."""
