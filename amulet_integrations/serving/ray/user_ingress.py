"""What every request comes to first: it chooses the replica, and outlives it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from amulet_integrations.serving.api_errors import ApiError
from amulet_integrations.serving.operations.access_log import log_failure
from amulet_integrations.serving.operations.error_answers import error_event, send_error
from amulet_integrations.serving.operations.request_record import (
    REQUEST_ID,
    note_error,
    path_below_root,
)
from amulet_integrations.serving.settings import ServerSettings

from .forwarded_request import ClientGoneError, ForwardedRequest, ReplicaLostError
from .replica_metrics import METRICS_TYPE, merge_pages
from .user_routing import UserRouting

_REQUEST_ID = REQUEST_ID.lower().encode()

_ATTEMPTS = 2
"""A request that ends its replica must not end all of them."""

_GRACE = 1.0
"""Seconds after the time limit in which a replica says itself that the time is up."""


class Replicas(Protocol):
    """All replicas of the model; `ReplicaPool` is those of Ray Serve."""

    def answer(
        self, request: ForwardedRequest, session: str
    ) -> AsyncGenerator[list[Message], None]:
        """See `ReplicaPool.answer`."""

    async def are_ready(self) -> bool:
        """Whether a replica answers requests now."""

    async def metrics(self) -> dict[str, bytes]:
        """What Prometheus reads of each replica, by the replica's id."""


class UserIngress:
    """The ASGI application in front of all replicas.

    Each request is sent to the replica of its user. If that one dies before the answer has begun,
    the next one gets it, unless it may have changed a profile.

    Args:
        pool: The replicas.
        routing: Finds out the user.
        settings: The settings of the server.
    """

    def __init__(self, pool: Replicas, routing: UserRouting, settings: ServerSettings) -> None:
        self._pool = pool
        self._routing = routing
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        path = path_below_root(scope)
        if scope["type"] != "http":
            await WebSocketClose()(scope, receive, send)
        elif path == "/metrics":
            page = merge_pages(await self._pool.metrics())
            await Response(page, media_type=METRICS_TYPE)(scope, receive, send)
        elif path == "/readyz":
            phase, status = ("ready", 200) if await self._pool.are_ready() else ("loading", 503)
            await JSONResponse({"status": phase}, status)(scope, receive, send)
        elif path == "/healthz":
            await JSONResponse({"status": "ok"})(scope, receive, send)
        else:
            await self._answer(_Answer(scope, receive, send), scope, receive)

    async def _answer(self, answer: _Answer, scope: Scope, receive: Receive) -> None:
        try:
            async with asyncio.timeout(self._settings.timeout + _GRACE):
                request, session = await self._read(scope, receive)
                await self._forward(request, session, answer)
        except ClientGoneError:
            return
        except TimeoutError:
            await answer.break_off(_too_late(self._settings.timeout))
        except ApiError as error:
            await answer.break_off(error)
        except HTTPException:
            raise  # what surrounds this bounds the body, and answers
        except Exception as error:  # noqa: BLE001 - Ray would log its text
            log_failure(error)
            await answer.break_off(ApiError.failed())

    async def _read(self, scope: Scope, receive: Receive) -> tuple[ForwardedRequest, str]:
        """The request and its session. Nothing of a body is taken without a valid key."""
        request = Request(scope)
        caller = await self._routing.caller_of(request)
        if caller is None:
            return ForwardedRequest.without_body(scope), ""
        whole = await ForwardedRequest.read(scope, receive)
        return whole, await self._routing.session_of(request, whole, caller)

    async def _forward(self, request: ForwardedRequest, session: str, answer: _Answer) -> None:
        attempts = _ATTEMPTS if request.may_be_repeated else 1
        for left in reversed(range(attempts)):
            try:
                async with aclosing(self._pool.answer(request, session)) as batches:
                    async for messages in batches:
                        for message in messages:
                            await answer.pass_on(message)
            except ReplicaLostError:
                if answer.has_begun or not left:
                    raise _replica_lost(request) from None
            else:
                break
        if not answer.is_complete:
            await answer.break_off(ApiError.failed())


class _Answer:
    """What a client has been sent of one answer. The start waits for the first of the body.

    Attributes:
        has_begun: Whether anything was sent.
        is_complete: Whether all was sent.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._start: Message | None = None
        self._is_stream = False
        self.has_begun = False
        self.is_complete = False

    async def pass_on(self, message: Message) -> None:
        """Sends what a replica has answered."""
        if message["type"] == "http.response.start":
            # Ray Serve adds the request's id itself.
            headers = [it for it in message["headers"] if it[0].lower() != _REQUEST_ID]
            kind = dict(headers).get(b"content-type", b"")
            self._is_stream = kind.startswith(b"text/event-stream")
            self._start = {**message, "headers": headers}
            return
        if not self.has_begun and self._start is not None:
            self.has_begun = True
            await self._send(self._start)
        await self._send(message)
        self.is_complete = not message.get("more_body", False)

    async def break_off(self, error: ApiError) -> None:
        """Ends the answer by an error: its own one, or the last event of a stream.

        Raises:
            ApiError: The error, where neither can be sent, so that the connection breaks.
        """
        if not self.has_begun:
            await send_error(error, self._scope, self._receive, self._send)
        elif self._is_stream and not self.is_complete:
            last = {"type": "http.response.body", "body": error_event(error), "more_body": False}
            await self._send(last)
        elif not self.is_complete:
            note_error(error.status, error.code)
            raise error
        self.is_complete = True


def _too_late(seconds: float) -> ApiError:
    return ApiError(
        504,
        f"The request was not answered within {seconds:g} seconds. Ask for less, or try again.",
        kind="server_error",
        code="timeout",
    )


def _replica_lost(request: ForwardedRequest) -> ApiError:
    done = "" if request.may_be_repeated else " It may have been done: look before you repeat it."
    return ApiError(
        503,
        f"The replica that worked for this request has ended.{done} Try again.",
        kind="server_error",
        code="replica_lost",
        headers={"Retry-After": "1"},
    )
