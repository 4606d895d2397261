"""The response with a stored profile, and how the routes describe it."""

from __future__ import annotations

from typing import Any

from fastapi.responses import JSONResponse

from amulet_integrations.profiles import PreferenceProfile
from amulet_integrations.serving.error_body import GUARDED_ERRORS, error_responses

from .entity_tags import entity_tag

_TAGGED = {"ETag": {"description": "The version, in quotes.", "schema": {"type": "string"}}}
_LOCATED = {"Location": {"description": "Its path.", "schema": {"type": "string"}}}

_STORED: dict[str, Any] = {
    "model": PreferenceProfile,
    "description": "The profile as it is stored.",
    "headers": _TAGGED,
}
STORED: dict[int | str, dict[str, Any]] = {200: _STORED}
CREATED: dict[int | str, dict[str, Any]] = {
    201: _STORED | {"description": "There was none; it is made.", "headers": _TAGGED | _LOCATED}
}
UNCHANGED: dict[int | str, dict[str, Any]] = {
    304: {"description": "It is the version of If-None-Match.", "headers": _TAGGED},
    **error_responses(412),
}
READ_ERRORS = GUARDED_ERRORS | error_responses(404, 504)
WRITE_ERRORS = READ_ERRORS | error_responses(409, 412, 415)


def profile_response(
    profile: PreferenceProfile, status: int = 200, location: str | None = None
) -> JSONResponse:
    """The response with a stored profile and its entity tag.

    Args:
        profile: The profile.
        status: The HTTP status.
        location: The path of the profile, if it is new.
    """
    headers = {"ETag": entity_tag(profile)} | ({} if location is None else {"Location": location})
    return JSONResponse(profile.model_dump(mode="json"), status, headers)
