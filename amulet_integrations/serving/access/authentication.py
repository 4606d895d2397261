"""The caller of a request, for routes."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from amulet_integrations.serving.app_state import AppStateOf

from .caller import Caller


async def authenticate(request: Request, state: AppStateOf) -> Caller:
    """The caller of a request; raises as `Access.caller_of`."""
    return await state.access.caller_of(request)


CallerOf = Annotated[Caller, Depends(authenticate)]
"""A route's parameter of this type is the caller; without a valid key the route is not reached."""

KEY_SCHEME = Security(
    HTTPBearer(scheme_name="key", description="A key from `amulet keys create`.", auto_error=False)
)
"""Describes the key in the OpenAPI description; it checks nothing."""
