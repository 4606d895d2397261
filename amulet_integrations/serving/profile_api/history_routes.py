"""The history of a profile, and going back to one of its versions."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from amulet_integrations.profiles import ProfileChange
from amulet_integrations.serving.openai_api.requests.request_model import WHOLE, RequestModel

from .encoded_path import EncodedPathRoute
from .entity_tags import PreconditionOf
from .path_user import ProfilesOf
from .profile_paths import PROFILES_PATH
from .profile_response import READ_ERRORS, WRITE_ERRORS, WRITTEN, written_response

router = APIRouter(prefix=PROFILES_PATH, tags=["profiles"], route_class=EncodedPathRoute)


class History(BaseModel):
    """Changes of a profile, the oldest first.

    Attributes:
        object: Always "list", as in OpenAI's lists.
        data: The changes.
        has_more: Whether there are older ones.
    """

    object: Literal["list"] = "list"
    data: list[ProfileChange]
    has_more: bool


class RestoreBody(RequestModel):
    """Which version to go back to."""

    version: Annotated[int, Field(ge=1, description="A version that the history lists."), WHOLE]


@router.get("/{user_id}/history", responses=READ_ERRORS)
async def get_history(
    profiles: ProfilesOf,
    limit: Annotated[int, Query(ge=1, le=1000, description="Most changes, the newest.")] = 100,
) -> History:
    """Lists the newest changes of a profile, also after it was deleted."""
    changes = await profiles.history(limit + 1)
    return History(data=changes[-limit:], has_more=len(changes) > limit)


@router.post("/{user_id}/restore", response_model=None, responses=WRITTEN | WRITE_ERRORS)
async def restore_profile(
    profiles: ProfilesOf, body: RestoreBody, precondition: PreconditionOf
) -> Response:
    """Stores an earlier version once more, as a new version."""
    return await written_response(await profiles.restore(body.version, precondition))
