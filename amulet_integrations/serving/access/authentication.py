"""From a request's headers to its caller, and to the user whom it is about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from amulet_integrations.errors import InvalidProfileError, KeyFileError
from amulet_integrations.profiles.field_types import checked_label
from amulet_integrations.serving.api_errors import ApiError
from amulet_integrations.serving.server_state import ServerState, State

from .caller import Caller
from .known_keys import KnownKeys


async def authenticate(request: Request, state: State) -> Caller:
    """The caller of a request, found out once. Only the header `Authorization` is read for keys.

    A user's key and a header that names another user do not go together, on whichever route.

    Raises:
        ApiError: 401, there is no key, or it is nobody's; 403, a header names another user than
            the key's; 400, a header is not valid, or stands there twice; 503, the file of keys
            cannot be used now.
    """
    known: Caller | None = getattr(request.state, "caller", None)
    if known is not None:
        return known
    caller = await find_caller(request, state.keys, state.settings.user_headers)
    request.state.caller = caller
    return caller


CallerOf = Annotated[Caller, Depends(authenticate)]
"""A route's parameter of this type is the caller; without a valid key the route is not reached."""

KEY_SCHEME = Security(
    HTTPBearer(scheme_name="key", description="A key from `amulet keys create`.", auto_error=False)
)
"""Describes the key in the OpenAPI description; it checks nothing."""


async def find_caller(
    request: Request, keys: KnownKeys | None, user_headers: Sequence[str]
) -> Caller:
    """The caller of a request, by its headers.

    Args:
        request: The request.
        keys: The keys; None where none are in use.
        user_headers: `ServerSettings.user_headers`.

    Raises:
        ApiError: As in `authenticate`.
    """
    caller = Caller() if keys is None else await _find(request, keys)
    for user_id in _users_in_headers(request, user_headers):
        caller.check_may_use(user_id)
    return caller


def user_of(
    request: Request, caller: Caller, body_user: str | None, user_headers: Sequence[str]
) -> str | None:
    """The user whose preferences count for a request of a caller; see `named_user`."""
    if body_user is None:
        return caller.user_for(next(iter(_users_in_headers(request, user_headers)), None))
    return caller.user_for(_checked("user", body_user))


def named_user(request: Request, body_user: str | None, state: ServerState) -> str | None:
    """The user whose preferences count for a request; nothing is looked up.

    For a user's key it is that user, and a body that names another is refused, whether or not there
    is such a user. Others name the user in the body, or else in one of
    `ServerSettings.user_headers`.

    Args:
        request: The request, which a route with a `CallerOf` has received.
        body_user: The user whom the body names, or None.
        state: The server's state.

    Returns:
        The user's id, or None where nobody is named.

    Raises:
        ApiError: 403, the key is another user's; 400, the id is not valid.
    """
    return user_of(request, request.state.caller, body_user, state.settings.user_headers)


def _users_in_headers(request: Request, user_headers: Sequence[str]) -> list[str]:
    """The users whom the configured headers name, in the order of the settings."""
    found = ((name, _single(request, name)) for name in user_headers)
    return [_checked(name, _as_utf8(name, value)) for name, value in found if value is not None]


async def _find(request: Request, keys: KnownKeys) -> Caller:
    scheme, _, key = (_single(request, "Authorization") or "").strip().partition(" ")
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


def _single(request: Request, header: str) -> str | None:
    values = request.headers.getlist(header)
    if len(values) > 1:
        raise ApiError(400, f"The header {header} stands there {len(values)} times; send it once.")
    return values[0] if values else None


def _as_utf8(header: str, value: str) -> str:
    """The text of a header, which arrives as if its bytes were Latin-1."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        raise ApiError(400, f"The header {header} is not in UTF-8.", param=header) from None


def _checked(param: str, user_id: str) -> str:
    if not user_id:
        raise ApiError(400, f"{param} is empty. Name the user, or leave it out.", param=param)
    try:
        return checked_label(param, user_id)
    except InvalidProfileError as error:
        raise ApiError(400, str(error), param=param) from None
