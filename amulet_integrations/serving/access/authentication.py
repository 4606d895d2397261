"""From a request's headers to its caller."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from amulet_integrations.serving.api_errors import ApiError
from amulet_integrations.serving.server_state import State

from .caller import Caller


def authenticate(request: Request, state: State) -> Caller:
    """The caller of a request.

    Raises:
        ApiError: 401, there is no key, or it is nobody's.
    """
    if state.keys is None:
        return Caller()
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    caller = state.keys.find(key.strip()) if scheme.lower() == "bearer" else None
    if caller is None:
        raise ApiError.unauthorized("The key is missing or wrong.")
    return caller


CallerOf = Annotated[Caller, Depends(authenticate)]
"""A route's parameter of this type is the caller; without a valid key the route is not reached."""
