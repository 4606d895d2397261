"""Who has a profile, a page at a time."""

from __future__ import annotations

from bisect import bisect_right
from typing import Literal

from pydantic import BaseModel

from amulet_integrations.concurrency.fair_threads import STORE_THREADS
from amulet_integrations.profiles.field_types import is_label
from amulet_integrations.serving.access.caller import Caller
from amulet_integrations.serving.api_errors import ApiError

from .profile_service import ProfileService


class ListedProfile(BaseModel):
    """A user who has a profile."""

    user_id: str


class ProfileList(BaseModel):
    """Some of the users who have a profile, by the code points of their ids.

    Attributes:
        object: Always "list", as in OpenAI's lists.
        data: The users.
        has_more: Whether there are more; pass the last one as `after`.
    """

    object: Literal["list"] = "list"
    data: list[ListedProfile]
    has_more: bool


async def list_profiles(
    profiles: ProfileService, caller: Caller, limit: int, after: str | None
) -> ProfileList:
    """Lists users who have a profile.

    An id that is damaged in the database is left out, as no request can name it; `amulet profile
    list` shows it.

    Args:
        profiles: The profiles of the application.
        caller: Who sends the request.
        limit: Most users.
        after: The user after whom to begin; None to begin with the first.

    Raises:
        ApiError: 403, the key is a user's; 404, the server keeps no profiles.
    """
    if not caller.may_name_users:
        raise ApiError.forbidden(
            "This key is one user's, so it does not list others. Read that user's own profile: "
            "GET /v1/profiles/{user_id}"
        )

    def read() -> list[str]:
        store = profiles.open_store()
        return [] if store is None else [one for one in store.user_ids() if is_label(one)]

    user_ids = await STORE_THREADS.start(read, may_be_left=True)
    begin = 0 if after is None else bisect_right(user_ids, after)
    page = user_ids[begin : begin + limit]
    return ProfileList(
        data=[ListedProfile(user_id=one) for one in page],
        has_more=begin + limit < len(user_ids),
    )
