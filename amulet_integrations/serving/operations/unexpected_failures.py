"""What surrounds the routes of an application that is a part of another one."""

from __future__ import annotations

import logging

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from amulet_integrations.serving.api_errors import ApiError

from .access_log import frames_of
from .error_answers import send_error
from .request_record import REQUEST_ID, request_id_of

logger = logging.getLogger(__name__)


class FailureMiddleware:
    """Answers what fails unexpectedly, and keeps answers out of shared caches.

    The application outside never sees the error, whose message may quote a user. The log says where
    it happened.

    Args:
        app: The application inside.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_begun = False

        async def send_private(message: Message) -> None:
            nonlocal is_begun
            if message["type"] == "http.response.start":
                is_begun = True
                message.setdefault("headers", [])
                MutableHeaders(scope=message).setdefault("Cache-Control", "private, no-cache")
            await send(message)

        try:
            await self._app(scope, receive, send_private)
        except Exception as error:  # noqa: BLE001 - servers would print its text
            failed = ApiError.failed(request_id_of(scope))
            logger.error(  # noqa: TRY400 - as above
                "A request failed unexpectedly: %s at %s (%s %s).",
                type(error).__name__,
                frames_of(error.__traceback__)[-1],
                REQUEST_ID,
                failed.headers[REQUEST_ID],
            )
            if not is_begun:
                await send_error(failed, scope, receive, send_private)
