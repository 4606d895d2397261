"""Reading, writing and erasing profiles."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from amulet_integrations.serving.access.authentication import CallerOf
from amulet_integrations.serving.app_state import AppStateOf

from .encoded_path import EncodedPathRoute
from .entity_tags import PreconditionOf, entity_tag
from .operator_checks import checked_patch
from .path_user import ProfilesOf
from .profile_document import ProfileDocument, ProfilePatch, patched, read_document
from .profile_list import ProfileList, list_profiles
from .profile_paths import PROFILES_PATH, profile_path
from .profile_response import (
    CREATED,
    READ_ERRORS,
    STORED,
    UNCHANGED,
    WRITE_ERRORS,
    WRITTEN,
    profile_response,
    written_response,
)

router = APIRouter(prefix=PROFILES_PATH, tags=["profiles"], route_class=EncodedPathRoute)


_PATCH = {"type": "object", "description": "The same as application/merge-patch+json."}


class Deletion(BaseModel):
    """What became of a profile that was deleted.

    Attributes:
        user_id: The user.
        deleted: Always true.
        erased: Whether its history is gone, too; else a version of it can be restored.
    """

    user_id: str
    deleted: bool = True
    erased: bool


@router.get("", responses=READ_ERRORS)
async def list_users(
    state: AppStateOf,
    caller: CallerOf,
    limit: Annotated[int, Query(ge=1, le=1000, description="Most users.")] = 100,
    after: Annotated[str | None, Query(description="The last user of the page before.")] = None,
) -> ProfileList:
    """Lists who has a profile, by code points; for applications, not for a user's own key."""
    return await list_profiles(state.profiles, caller, limit, after)


@router.get(
    "/{user_id}",
    response_model=None,
    responses=STORED | UNCHANGED | READ_ERRORS,
)
async def get_profile(profiles: ProfilesOf, precondition: PreconditionOf) -> Response:
    """Reads a profile, without what it inherits."""
    found = await profiles.read()
    precondition.check_match(found)
    if precondition.is_known(found):
        return Response(status_code=304, headers={"ETag": entity_tag(found)})
    return profile_response(found)


@router.put(
    "/{user_id}",
    response_model=None,
    responses=WRITTEN | CREATED | WRITE_ERRORS,
)
async def put_profile(
    profiles: ProfilesOf, document: ProfileDocument, precondition: PreconditionOf, request: Request
) -> Response:
    """Stores a profile in place of the earlier one; without `If-Match`, whatever is there.

    `user_id` may be left out. `version`, `updated_at` and `contradictions` are read-only: what was
    read may be sent back, and the server sets them anew. Preferences that contradict each other are
    stored all the same, and named in `contradictions`.
    """
    limits = await profiles.service.alimits(profiles.user_id)
    profile = read_document(profiles.user_id, document, limits)
    written, created = await profiles.put(profile, precondition)
    if not created:
        return await written_response(written)
    path = request.scope.get("root_path", "") + profile_path(profiles.user_id)
    return await written_response(written, 201, path)


@router.patch(
    "/{user_id}",
    response_model=None,
    responses=WRITTEN | WRITE_ERRORS,
    openapi_extra={"requestBody": {"content": {"application/json": {"schema": _PATCH}}}},
)
async def patch_profile(
    profiles: ProfilesOf, patch: ProfilePatch, precondition: PreconditionOf
) -> Response:
    """Changes some fields of a profile, by a JSON merge patch (RFC 7396).

    A list is replaced as a whole: send all `preferences`. null takes a field back to its default;
    for no bound or no gate at all (`max_kl` or `gate` null), use PUT. `user_id`, `version`
    and `updated_at` cannot be changed.
    """
    checked = await checked_patch(profiles.service, profiles.user_id, patch)
    changed = await profiles.change(lambda before: patched(before, checked), precondition)
    return await written_response(changed)


@router.delete("/{user_id}", responses=WRITE_ERRORS)
async def delete_profile(
    profiles: ProfilesOf,
    precondition: PreconditionOf,
    *,
    erase: Annotated[
        bool, Query(description="Whether its history goes, too. Then nothing can be restored.")
    ] = False,
) -> Deletion:
    """Deletes a profile; its history stays, unless it is erased with it."""
    await (profiles.erase(precondition) if erase else profiles.delete(precondition))
    return Deletion(user_id=profiles.user_id, erased=erase)
