"""The response with a stored profile, and how the routes describe it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel

from amulet_integrations.concurrency.fair_threads import STORE_THREADS
from amulet_integrations.profiles import PreferenceProfile, find_contradictions
from amulet_integrations.serving.error_body import GUARDED_ERRORS, error_responses

from .entity_tags import entity_tag

_TAGGED = {"ETag": {"description": "The version, in quotes.", "schema": {"type": "string"}}}
_LOCATED = {"Location": {"description": "Its path.", "schema": {"type": "string"}}}


class ContradictionBody(BaseModel):
    """Two preferences that no answer can follow both, as far as their words say.

    Attributes:
        preferences: Their places in the list, from 0.
        names: Their names; null for one without.
        about: What they disagree on.
        wants: What each of them wants of it.
    """

    preferences: tuple[int, int]
    names: tuple[str | None, str | None]
    about: str
    wants: tuple[str, str]


class WrittenProfile(PreferenceProfile):
    """A profile that was stored.

    Attributes:
        contradictions: Its preferences that contradict each other; left out where none do.
    """

    contradictions: tuple[ContradictionBody, ...] | None = None


_STORED: dict[str, Any] = {
    "model": PreferenceProfile,
    "description": "The profile as it is stored.",
    "headers": _TAGGED,
}
_WRITTEN: dict[str, Any] = _STORED | {"model": WrittenProfile}
WRITTEN: dict[int | str, dict[str, Any]] = {200: _WRITTEN}
STORED: dict[int | str, dict[str, Any]] = {200: _STORED}
CREATED: dict[int | str, dict[str, Any]] = {
    201: _WRITTEN | {"description": "There was none; it is made.", "headers": _TAGGED | _LOCATED}
}
UNCHANGED: dict[int | str, dict[str, Any]] = {
    304: {"description": "It is the version of If-None-Match.", "headers": _TAGGED},
    **error_responses(412),
}
READ_ERRORS = GUARDED_ERRORS | error_responses(404, 504)
WRITE_ERRORS = READ_ERRORS | error_responses(409, 412, 415)


async def written_response(
    profile: PreferenceProfile, status: int = 200, location: str | None = None
) -> JSONResponse:
    """The response with a profile that was just stored: it tells of contradictions.

    Args:
        profile: The profile.
        status: The HTTP status.
        location: The path of the profile, if it is new.
    """
    # On a thread: many preferences take a tenth of a second.
    look = partial(find_contradictions, profile.preferences)
    found = await STORE_THREADS.start(look, profile.user_id, may_be_left=True)
    more = {"contradictions": [it.as_json() for it in found]} if found else {}
    return profile_response(profile, status, location, more)


def profile_response(
    profile: PreferenceProfile,
    status: int = 200,
    location: str | None = None,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> JSONResponse:
    """The response with a stored profile and its entity tag.

    Args:
        profile: The profile.
        status: The HTTP status.
        location: The path of the profile, if it is new.
        more: Further fields of the body.
    """
    headers = {"ETag": entity_tag(profile)} | ({} if location is None else {"Location": location})
    return JSONResponse(profile.model_dump(mode="json") | dict(more), status, headers)
