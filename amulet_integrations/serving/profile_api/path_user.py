"""The user in the path of a request, whom the caller may act for."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path

from amulet_integrations.profiles.field_types import LABEL_SCHEMA, checked_label
from amulet_integrations.serving.access.authentication import CallerOf
from amulet_integrations.serving.app_state import AppStateOf

from .user_profiles import UserProfiles


async def _user_profiles(
    user_id: Annotated[
        str,
        Path(
            description="The user; percent-encoded, slashes too.",
            json_schema_extra=LABEL_SCHEMA,
        ),
    ],
    state: AppStateOf,
    caller: CallerOf,
) -> UserProfiles:
    # First, so that nobody learns anything of another's id.
    caller.check_may_use(user_id)
    return UserProfiles(state.profiles, caller, checked_label("user_id", user_id))


ProfilesOf = Annotated[UserProfiles, Depends(_user_profiles)]
"""A route's parameter of this type is the user in the path, whom the caller may act for."""
