"""Which pages of other origins may call, and what browsers let them read."""

from __future__ import annotations

from collections.abc import Collection

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_READABLE_HEADERS = ("ETag", "Location", "Retry-After", "X-Request-Id")


class CrossOriginMiddleware(CORSMiddleware):
    """Lets pages of some origins call, and read errors as well as answers.

    No cookies are in use, so a page has to have a key to do more than anybody.

    Args:
        app: The application inside.
        origins: The origins, such as "http://localhost:3000"; "*" is for all.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        super().__init__(
            app,
            allow_origins=tuple(origins),
            allow_methods=_METHODS,
            allow_headers=["*"],
            expose_headers=_READABLE_HEADERS,
        )
