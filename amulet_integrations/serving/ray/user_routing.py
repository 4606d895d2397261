"""Which requests belong to one replica: those of one user, whose prefixes it keeps."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from fastapi import Request
from starlette.types import Scope

from amulet_integrations.serving.access.authentication import find_caller, user_of
from amulet_integrations.serving.access.caller import Caller
from amulet_integrations.serving.access.known_keys import KnownKeys
from amulet_integrations.serving.api_errors import ApiError

from .forwarded_request import ForwardedRequest


class UserRouting:
    """Finds out the user of a request, before anything of it is computed.

    It refuses nothing. A request that no user is found for goes to any replica, which refuses it in
    due form where something is wrong with it.

    Args:
        keys: The keys; None where none are in use.
        user_headers: `ServerSettings.user_headers`.
    """

    def __init__(self, keys: KnownKeys | None, user_headers: Sequence[str]) -> None:
        self._keys = keys
        self._user_headers = user_headers

    async def caller_of(self, scope: Scope) -> Caller | None:
        """Whose key a request comes with; None where a replica will refuse it by its headers."""
        try:
            return await find_caller(Request(scope), self._keys, self._user_headers)
        except ApiError:
            return None

    def session_of(self, request: ForwardedRequest, caller: Caller | None) -> str:
        """A name for all requests of the same user, which does not tell who it is.

        It is empty for requests of nobody, and for those that leave the model alone.
        """
        if caller is None or not request.asks_the_model:
            return ""
        named = _user_in_body(request.body) if caller.may_name_users else None
        try:
            user_id = user_of(Request(request.scope), caller, named, self._user_headers)
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
