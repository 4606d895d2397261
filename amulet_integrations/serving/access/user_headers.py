"""Users whom the headers of a request name."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import Request

from amulet_integrations.errors import InvalidProfileError
from amulet_integrations.profiles.field_types import checked_label
from amulet_integrations.serving.api_errors import ApiError


def users_in_headers(request: Request, names: Sequence[str]) -> list[str]:
    """The users whom these headers of a request name, in their order.

    Raises:
        ApiError: 400, a header stands there twice, or names nobody.
    """
    found = ((name, single_header(request, name)) for name in names)
    return [checked_user(name, _as_utf8(name, value)) for name, value in found if value is not None]


def single_header(request: Request, header: str) -> str | None:
    """The text of a header; None where it is not sent.

    Raises:
        ApiError: 400, it stands there more than once.
    """
    values = request.headers.getlist(header)
    if len(values) > 1:
        raise ApiError(400, f"The header {header} stands there {len(values)} times; send it once.")
    return values[0] if values else None


def checked_user(param: str, user_id: str) -> str:
    """The id of a user whom a request names.

    Raises:
        ApiError: 400, it is empty, or no id.
    """
    if not user_id:
        raise ApiError(400, f"{param} is empty. Name the user, or leave it out.", param=param)
    try:
        return checked_label(param, user_id)
    except InvalidProfileError as error:
        raise ApiError(400, str(error), param=param) from None


def _as_utf8(header: str, value: str) -> str:
    """The text of a header, which arrives as if its bytes were Latin-1."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        raise ApiError(400, f"The header {header} is not in UTF-8.", param=header) from None
