"""Which requests belong to one replica: those of one user, whose prefixes it keeps."""

from __future__ import annotations

import hashlib
import json

from fastapi import Request

from amulet_integrations.serving.access.caller import Caller
from amulet_integrations.serving.access.request_access import Access
from amulet_integrations.serving.api_errors import ApiError
from amulet_integrations.serving.operations.gate import needs_key

from .forwarded_request import ForwardedRequest


class UserRouting:
    """Finds out the user of a request, before anything of it is computed.

    A request without a valid key is refused here, so that it takes no place at a replica. Of what
    else is wrong with a request the replica says so; it goes to any of them.

    Args:
        access: Who sends a request, and whom they may name.
    """

    def __init__(self, access: Access) -> None:
        self._access = access

    async def caller_of(self, request: Request) -> Caller | None:
        """Who sends a request; None if nobody is known, and the request needs no key.

        Raises:
            ApiError: It needs one; see `Access.caller_of`.
        """
        try:
            return await self._access.caller_of(request)
        except ApiError:
            if needs_key(request.scope):
                raise
            return None

    async def session_of(self, request: Request, whole: ForwardedRequest, caller: Caller) -> str:
        """A name for all requests of the same user, which does not tell who it is.

        It is empty for requests of nobody, and for those that leave the model alone.

        Args:
            request: The request.
            whole: The same with its body.
            caller: Who sends it.
        """
        if not whole.asks_the_model:
            return ""
        named = _user_in_body(whole.body) if caller.may_name_users else None
        try:
            user_id = (await self._access.asker_of(request, named)).user_id
        except ApiError:
            return ""
        if user_id is None:
            return ""
        return hashlib.sha256(user_id.encode(errors="surrogatepass")).hexdigest()


def _user_in_body(body: bytes) -> str | None:
    """The field `user` of a body; None where there is none that can be read."""
    try:
        user = json.loads(body).get("user")
    except (ValueError, RecursionError, AttributeError):
        return None
    return user if isinstance(user, str) else None
