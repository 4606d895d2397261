"""Who sends a request, and whom they may name: for every application, ours or another."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from fastapi import Request

from amulet_integrations.concurrency.thread_groups import join_group
from amulet_integrations.errors import InvalidParamsError, KeyFileError
from amulet_integrations.files import with_home
from amulet_integrations.serving.api_errors import ApiError

from .caller import Asker, Caller
from .header_names import checked_headers
from .key_file import KeyFile
from .known_keys import KnownKeys
from .origin_check import check_local
from .user_headers import checked_user, single_header, users_in_headers
from .web_origins import check_origins


@runtime_checkable
class Keys(Protocol):
    """What tells whose key it is: a file of keys, or tokens of an application's own."""

    async def afind(self, key: str) -> Caller | None:
        """The caller whose key this is; None if it is nobody's.

        Args:
            key: What stands behind ``Bearer`` in the header `Authorization`.

        Raises:
            KeyFileError: No key can be checked now.
        """


# Not in the scope's "state": a server may give the same one to several requests.
_FOUND = "amulet_caller"


class _Found(NamedTuple):
    """What was found out of a request before."""

    by: Access
    caller: Caller


class Access:
    """Says who sends a request and for whom it is. One object serves a whole application.

        access = Access(keys="keys.json", user_headers=["X-OpenWebUI-User-Id"])

        @app.post("/v1/chat/completions")
        async def chat(request: Request, body: Chat):
            asker = await access.asker_of(request, body.user)
            ...  # answer for asker.user_id, with asker.cache_salt

    Args:
        keys: The file of keys, from `amulet keys create`; or an object that finds the caller whom
            a bearer token belongs to, as `Keys` does. None is for this machine only: requests from
            elsewhere, and of other sites' pages, are refused, and everybody here may name any user.
        user_headers: Headers that name the user where the body names none, in this order. With a
            user's key they may name that user only.
        share_prefixes: Whether prompts of different users share what has been computed of their
            common beginning. None shares it where no keys are in use.
        cors_origins: Without keys: origins whose pages may call, such as "http://localhost:3000".

    Attributes:
        keys: What finds callers; None where no keys are in use.
        user_headers: The headers.
        shares_prefixes: Whether users share computed prefixes.
        cors_origins: The origins.

    Raises:
        KeyFileError: There is no such file, it is damaged, or others may write it.
        InvalidParamsError: A header cannot name a user, an origin is none, or `keys` finds nobody.
    """

    def __init__(
        self,
        keys: Keys | str | Path | None = None,
        user_headers: Sequence[str] = (),
        *,
        share_prefixes: bool | None = None,
        cors_origins: Collection[str] = (),
    ) -> None:
        if isinstance(user_headers, str) or isinstance(cors_origins, str):
            raise InvalidParamsError("user_headers and cors_origins are lists: give [...].")
        check_origins(cors_origins, has_keys=keys is not None)
        self.user_headers: tuple[str, ...] = checked_headers(user_headers)
        self.cors_origins: tuple[str, ...] = tuple(cors_origins)
        self.shares_prefixes: bool = keys is None if share_prefixes is None else share_prefixes
        self.keys: Keys | None = _checked_keys(keys)

    async def caller_of(self, request: Request) -> Caller:
        """The caller of a request, found out once. No header but `Authorization` is read for keys.

        A user's key and a header that names another user do not go together, on whichever route.
        What the request's task does on threads counts as work of its key from then on.

        Raises:
            ApiError: 401, there is no key, or it is nobody's; 403, a header names another user
                than the key's, or without keys the request is not of this machine; 400, a header
                is not valid, or stands there twice; 503, keys cannot be checked now.
        """
        known: _Found | None = request.scope.get(_FOUND)
        if known is not None and known.by is self:
            join_group(known.caller.key_id)
            return known.caller
        if self.keys is None:
            check_local(request.scope, self.cors_origins)
            caller = Caller()
        else:
            caller = await _find(request, self.keys)
        for user_id in users_in_headers(request, self.user_headers):
            caller.check_may_use(user_id)
        request.scope[_FOUND] = _Found(self, caller)
        join_group(caller.key_id)
        return caller

    async def asker_of(self, request: Request, named: str | None = None) -> Asker:
        """The user whose preferences count for a request; nobody is looked up.

        For a user's key it is that user, and a body that names another is refused, whether or not
        there is such a user. Others name the user in the body, or else in one of `user_headers`.

        Args:
            request: The request.
            named: The user whom the body names, or None.

        Raises:
            ApiError: As `caller_of`. 403, the key is another user's; 400, an id is not valid.
        """
        caller = await self.caller_of(request)
        if named is None:
            named = next(iter(users_in_headers(request, self.user_headers)), None)
        else:
            checked_user("user", named)
        user_id = caller.user_for(named)
        return Asker(user_id, self._cache_salt(caller, user_id))

    def _cache_salt(self, caller: Caller, user_id: str | None) -> str | None:
        """Which requests share computed prefixes: those of one user, or of one key for nobody."""
        if self.shares_prefixes:
            return None
        return f"key {caller.key_id}" if user_id is None else f"user {user_id}"


def _checked_keys(keys: Keys | str | Path | None) -> Keys | None:
    if isinstance(keys, str | Path):
        return KnownKeys(KeyFile(with_home(Path(keys))))
    if keys is None or isinstance(keys, Keys):
        return keys
    raise InvalidParamsError(
        f"keys= is a {type(keys).__name__}, which finds no callers. Give the path of a file of "
        "keys, or an object with an async method `afind`."
    )


async def _find(request: Request, keys: Keys) -> Caller:
    scheme, _, key = (single_header(request, "Authorization") or "").strip().partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise ApiError.unauthorized(
            "This request has no key. Send one in the header 'Authorization: Bearer KEY'; keys in "
            "the address or in other headers are not read."
        )
    try:
        caller = await keys.afind(key.strip())
    except KeyFileError:
        # Not `from error`: it names the file, and is in the log.
        raise ApiError(
            503,
            "The server cannot check keys now. Its log says why. Try again later.",
            kind="server_error",
            code="keys_unavailable",
        ) from None
    if caller is None:
        raise ApiError.unauthorized(
            "This key is not valid: it is mistyped, or it was revoked. Ask whoever runs the server "
            "for a new one."
        )
    return caller
