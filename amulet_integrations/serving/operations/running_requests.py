"""Requests in work: each ends with its client, and all of them end with the server."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from amulet_integrations.serving.api_errors import ApiError

from .error_answers import error_event, send_error
from .readiness import shutting_down
from .request_record import current_record

_EVENT_STREAM = b"text/event-stream"


class RunningRequest:
    """One request whose work can be ended from outside.

    Args:
        receive: ASGI's, of the server.
        send: ASGI's, of the server.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._bound = asyncio.timeout(None)
        self._gone = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None
        self._error: ApiError | None = None
        self._has_started = False
        self._is_complete = False
        self._is_stream = False

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Runs the application for this request, until it is done or is ended."""
        try:
            async with self._bound:
                await app(scope, self._read, self._write)
        except TimeoutError:
            if not self._bound.expired():
                raise
        finally:
            if self._watcher is not None:
                self._watcher.cancel()
        if self._error is not None and self._bound.expired():
            await self._send_end(self._error, scope)

    def end(self, error: ApiError | None) -> None:
        """Breaks the work off.

        Args:
            error: What the client is sent; None for a client that is not there any more.
        """
        if not self._is_complete and not self._bound.expired():
            self._error = error
            self._bound.reschedule(asyncio.get_running_loop().time())

    async def _read(self) -> Message:
        if self._watcher is not None:
            await self._gone.wait()
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._note_gone()
        elif not message.get("more_body", False):
            self._watcher = asyncio.create_task(self._watch())
        return message

    async def _watch(self) -> None:
        """Waits for the one message that follows a body: the client has gone."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._gone.set()
            self._note_gone()
            self.end(None)

    def _note_gone(self) -> None:
        if not self._is_complete and (record := current_record()) is not None:
            record.client_gone = True

    async def _write(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = dict(message.get("headers", ()))
            self._is_stream = headers.get(b"content-type", b"").startswith(_EVENT_STREAM)
            await self._send(message)
            self._has_started = True
            return
        self._is_complete = not message.get("more_body", False)
        await self._send(message)

    async def _send_end(self, error: ApiError, scope: Scope) -> None:
        if not self._has_started:
            await send_error(error, scope, self._receive, self._send)
        elif self._is_stream and not self._is_complete:
            last = {"type": "http.response.body", "body": error_event(error), "more_body": False}
            await self._send(last)


class RunningRequests:
    """All requests that a server works on."""

    def __init__(self) -> None:
        self._requests: set[RunningRequest] = set()

    def __len__(self) -> int:
        return len(self._requests)

    async def run(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs the application for one more request."""
        request = RunningRequest(receive, send)
        self._requests.add(request)
        try:
            await request.run(app, scope)
        finally:
            self._requests.discard(request)

    def end_all(self) -> None:
        """Ends what runs; a stream gets an error as its last event."""
        for request in list(self._requests):
            request.end(shutting_down())


class RunningRequestsMiddleware:
    """Keeps the requests in work where they can be ended.

    Args:
        app: The application inside.
        running: Where they are kept.
    """

    def __init__(self, app: ASGIApp, running: RunningRequests) -> None:
        self._app = app
        self._running = running

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http":
            await self._running.run(self._app, scope, receive, send)
        else:
            await self._app(scope, receive, send)
