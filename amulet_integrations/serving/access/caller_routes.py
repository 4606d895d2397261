"""GET /v1/me: whose key it is."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from amulet_integrations.serving.error_body import GUARDED_ERRORS

from .authentication import CallerOf

router = APIRouter(prefix="/v1", tags=["access"])


class CallerObject(BaseModel):
    """Who sends a request.

    Attributes:
        object: "caller".
        key_id: The id of the key; null where no keys are in use.
        user_id: The user whose key it is; null for an application's key and without keys.
        may_name_users: Whether requests may name any user.
    """

    object: Literal["caller"] = "caller"
    key_id: str | None
    user_id: str | None
    may_name_users: bool


@router.get("/me", responses=GUARDED_ERRORS)
async def me(caller: CallerOf) -> CallerObject:
    """Tells a client whose key it has."""
    return CallerObject(
        key_id=caller.key_id, user_id=caller.user_id, may_name_users=caller.may_name_users
    )
