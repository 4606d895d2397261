"""Which web pages may call the server from a browser."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from amulet_integrations.serving.settings import ServerSettings

from .origin_check import OriginCheck

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_READABLE_HEADERS = ("ETag", "Location", "Retry-After", "X-Request-Id")


def guard_against_pages(app: FastAPI, settings: ServerSettings) -> None:
    """Lets pages of `ServerSettings.cors_origins` call; without keys keeps all others away.

    Args:
        app: The application, before it starts.
        settings: Its settings.
    """
    if settings.keys is None:
        app.add_middleware(OriginCheck, origins=settings.cors_origins)
    if settings.cors_origins:
        # No cookies are in use, so a page has to have a key to do more than anybody.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=_METHODS,
            allow_headers=["*"],
            expose_headers=_READABLE_HEADERS,
        )
