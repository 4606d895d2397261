"""What the routes for keys and profiles share, in whichever application they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from .access.request_access import Access
from .profile_api.profile_service import ProfileService


@dataclass
class AppState:
    """What an application has at `app.state.amulet`.

    Attributes:
        access: Who sends a request, and whom they may name.
        profiles: The profiles.
    """

    access: Access
    profiles: ProfileService


async def app_state_of(request: Request) -> AppState:
    """The state of the application that a request came to."""
    return cast("AppState", request.app.state.amulet)


AppStateOf = Annotated[AppState, Depends(app_state_of)]
"""A route's parameter of this type is the state of its application."""
