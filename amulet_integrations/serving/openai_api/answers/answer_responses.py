"""The responses to requests for answers, for the description of the API."""

from __future__ import annotations

from typing import Any

from amulet_integrations.serving.error_body import GUARDED_ERRORS, error_responses

_EVENT = {
    "type": "object",
    "properties": {
        "data": {
            "type": "string",
            "description": "A chunk in OpenAI's form, as JSON; at the end `[DONE]`, or an error.",
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
    **GUARDED_ERRORS,
    **error_responses(404, 415, 504),
}
"""What a route may answer; pass it as `responses`."""
