"""Connections that cost no more than they may: slow senders and slow readers are cut off."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4

import h11
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol
from uvicorn.server import ServerState as UvicornState

from amulet_integrations.serving.api_errors import ApiError

from .access_log import log_request
from .error_answers import send_error
from .request_record import REQUEST_ID, RequestRecord, recording
from .server_metrics import SLOW_READER, SLOW_REQUEST, TOO_MANY

_GRACE = 2.0
"""Seconds for which a body may be late, so that the application can answer 408 itself."""


_NOT_HTTP = ApiError(400, "This is no HTTP request that can be read.", code="invalid_http")


@dataclass(frozen=True, slots=True)
class ConnectionBounds:
    """Bounds of one connection and of all.

    Attributes:
        receive_timeout: Seconds within which a request's headers have to arrive, then its body.
        send_timeout: Seconds for which a client may take nothing of its answer.
        max_connections: Most connections. More get one 503 each; twice as many get nothing.
        note_refusal: f(reason) is called for each client that is cut off or sent away.
    """

    receive_timeout: float
    send_timeout: float
    max_connections: int
    note_refusal: Callable[[str], None]


class BoundedProtocol(H11Protocol):
    """uvicorn's HTTP protocol with bounds on how long clients may take.

    uvicorn itself waits for ever for the rest of a request's headers, and for a client that does
    not read its answer.

    Args:
        bounds: The bounds.
        config: As in uvicorn.
        server_state: As in uvicorn.
        app_state: As in uvicorn.
        _loop: As in uvicorn.
    """

    def __init__(
        self,
        bounds: ConnectionBounds,
        config: Config,
        server_state: UvicornState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._bounds = bounds
        self._receiving: asyncio.TimerHandle | None = None
        self._receiving_body = False
        self._sending: asyncio.TimerHandle | None = None
        self._unsent = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to wait for the first request."""
        super().connection_made(transport)
        most = self._bounds.max_connections
        if len(self.connections) > 2 * most:
            self._cut_off(TOO_MANY)
            return
        if len(self.connections) > most:
            self._bounds.note_refusal(TOO_MANY)
            self.app = _answer_full
        else:
            self.app = partial(_unless_ambiguous, self.app)
        self._await_request(is_body=False)

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends all waiting."""
        self._stop_receiving()
        self._stop_sending()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Takes bytes of a request."""
        super().data_received(data)
        self._watch_receiving(has_begun=True)

    def on_response_complete(self) -> None:
        """Goes on to the next request, which may be there already."""
        super().on_response_complete()
        self._watch_receiving(has_begun=False)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's
        """Answers what is no HTTP with an error and an id, as all errors, and ends the connection.

        No application is called for it. Where an answer has begun, it breaks off.
        """
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            record = RequestRecord(uuid4().hex, status=_NOT_HTTP.status, code=_NOT_HTTP.code)
            body = json.dumps(_NOT_HTTP.body).encode()
            headers = {
                "Content-Type": "application/json",
                "Content-Length": str(len(body)),
                "Connection": "close",
                REQUEST_ID: record.request_id,
            }
            start = h11.Response(
                status_code=_NOT_HTTP.status,
                reason=STATUS_PHRASES[_NOT_HTTP.status],
                headers=list(headers.items()),
            )
            for event in (start, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
            with recording(record):
                log_request(record)
        if self.cycle is not None and not self.cycle.response_complete:  # its body is what is wrong
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    def pause_writing(self) -> None:
        """The client has not taken what was sent: begins to wait for it."""
        super().pause_writing()
        self._watch_sending()

    def resume_writing(self) -> None:
        """The client has taken most of what was sent."""
        super().resume_writing()
        self._stop_sending()

    def timeout_keep_alive_handler(self) -> None:
        """Closes an idle connection; what is not sent by then has to be taken in time, too."""
        super().timeout_keep_alive_handler()
        self._watch_sending()

    def shutdown(self) -> None:
        """Closes the connection when what it works on is done."""
        super().shutdown()
        if self.transport.is_closing():
            self._watch_sending()

    def _watch_receiving(self, *, has_begun: bool) -> None:
        """Waits for the rest of a request, if some of it is missing."""
        state = self.conn.their_state
        if state is h11.SEND_BODY:
            self._await_request(is_body=True)
        elif state is h11.IDLE and (has_begun or self.conn.trailing_data[0]):
            self._await_request(is_body=False)
        else:
            self._stop_receiving()

    def _await_request(self, *, is_body: bool) -> None:
        if self._receiving is not None:
            if self._receiving_body == is_body:
                return
            self._stop_receiving()
        self._receiving_body = is_body
        seconds = self._bounds.receive_timeout + (_GRACE if is_body else 0.0)
        self._receiving = self.loop.call_later(seconds, self._cut_off, SLOW_REQUEST)

    def _stop_receiving(self) -> None:
        if self._receiving is not None:
            self._receiving.cancel()
            self._receiving = None

    def _watch_sending(self) -> None:
        self._stop_sending()
        self._unsent = self.transport.get_write_buffer_size()
        if self._unsent:
            self._sending = self.loop.call_later(self._bounds.send_timeout, self._check_sending)

    def _check_sending(self) -> None:
        """Cuts off a client that has taken nothing since the last look."""
        if self.transport.get_write_buffer_size() >= self._unsent:
            self._cut_off(SLOW_READER)
        else:
            self._watch_sending()

    def _cut_off(self, reason: str) -> None:
        self._bounds.note_refusal(reason)
        self.transport.abort()

    def _stop_sending(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None


async def _unless_ambiguous(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Refuses a body with two lengths, of which a proxy may believe the other one.

    What follows such a body on a connection that a proxy shares could be read as part of
    somebody else's request. So the connection ends, as RFC 9112 (6.3) demands.
    """
    names = {name for name, _ in scope.get("headers", ())}
    if not {b"transfer-encoding", b"content-length"} <= names:
        await app(scope, receive, send)
        return
    error = ApiError(
        400,
        "The request has both Content-Length and Transfer-Encoding. Send one of them.",
        headers={"Connection": "close"},
    )
    await send_error(error, scope, receive, send)


async def _answer_full(scope: Scope, receive: Receive, send: Send) -> None:
    error = ApiError(
        503,
        "The server has as many connections as it takes. Try again.",
        kind="server_error",
        code=TOO_MANY,
        headers={"Retry-After": "1", "Connection": "close"},
    )
    await send_error(error, scope, receive, send)
