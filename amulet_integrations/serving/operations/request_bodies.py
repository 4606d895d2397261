"""Bounds on what a client sends: how much, and how slowly."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from amulet_integrations.serving.api_errors import ApiError

from .error_answers import send_error


class BodyBoundsMiddleware:
    """Refuses bodies that are too large (413) or do not arrive in time (408).

    A body without a length, in chunks, is counted as it comes.

    Args:
        app: The application inside.
        max_size: Most bytes of a body.
        timeout: Seconds within which a body has to have arrived whole.
        setting: What an operator calls `max_size`.
    """

    def __init__(self, app: ASGIApp, max_size: int, timeout: float, *, setting: str) -> None:
        self._app = app
        self._max_size = max_size
        self._timeout = timeout
        self._too_large = _too_large(max_size, setting)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "")
        if length.isdecimal() and int(length) > self._max_size:
            await send_error(self._too_large, scope, receive, send)
            return
        body = _Body(receive, send, self._max_size, self._timeout, self._too_large)
        try:
            await self._app(scope, body.read, body.write)
        except HTTPException:
            if body.refusal is None:
                raise
        if body.refusal is not None and not body.is_answered:
            await send_error(body.refusal, scope, receive, send)


class _Body:
    """One body on its way in; its refusal takes the place of what the application answers."""

    def __init__(
        self, receive: Receive, send: Send, max_size: int, timeout: float, too_large: ApiError
    ) -> None:
        self._receive = receive
        self._send = send
        self._max_size = max_size
        self._too_large = too_large
        self._timeout = timeout
        self._deadline = asyncio.get_running_loop().time() + timeout
        self._size = 0
        self._is_whole = False
        self.is_answered = False
        self.refusal: ApiError | None = None

    async def read(self) -> Message:
        if self._is_whole:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            return self._refuse(_too_slow(self._timeout))
        self._size += len(message.get("body", b""))
        if self._size > self._max_size:
            return self._refuse(self._too_large)
        self._is_whole = not message.get("more_body", False)
        return message

    def _refuse(self, error: ApiError) -> Message:
        if self.is_answered:  # by a route that reads no body: nothing more is taken
            return {"type": "http.disconnect"}
        self.refusal = error
        raise HTTPException(error.status, str(error))

    async def write(self, message: Message) -> None:
        if self.refusal is None:
            self.is_answered = True
            await self._send(message)


def _too_large(most: int, setting: str) -> ApiError:
    return ApiError(
        413,
        f"The request's body has more than {most:,} bytes, which is the most that this server "
        f"takes ({setting}).",
        code="body_too_large",
    )


def _too_slow(seconds: float) -> ApiError:
    return ApiError(
        408,
        f"The request's body has not arrived within {seconds:g} seconds. Send it again.",
        code="slow_request",
        headers={"Connection": "close"},
    )
