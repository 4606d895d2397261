"""What surrounds every request: its id, its line in the log, its span and its counters."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from amulet_integrations.serving.api_errors import ApiError

from .access_log import log_failure, log_request
from .error_answers import send_error
from .request_record import REQUEST_ID, RequestRecord, recording, request_id_of
from .server_metrics import ServerMetrics
from .tracing import request_span


class ObservingMiddleware:
    """Keeps a record of each request, gives it an id, and answers what fails unexpectedly.

    The id is that of the request's `X-Request-Id`, if it is a plain one, or a new one; the answer
    has it too.

    Args:
        app: The application inside.
        metrics: The counters.
        model: The name of the model, for spans.
    """

    def __init__(self, app: ASGIApp, metrics: ServerMetrics, model: str) -> None:
        self._app = app
        self._metrics = metrics
        self._model = model

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = RequestRecord(request_id=request_id_of(scope))
        record.read_scope(scope)
        with recording(record), self._metrics.in_flight.track_inprogress():
            await self._observe(record, scope, receive, send)

    async def _observe(
        self, record: RequestRecord, scope: Scope, receive: Receive, send: Send
    ) -> None:
        has_begun = False

        async def send_noted(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                record.status = message["status"]
                message.setdefault("headers", [])
                MutableHeaders(scope=message)[REQUEST_ID] = record.request_id
            await send(message)

        with request_span(scope, record, self._model):
            try:
                await self._app(scope, receive, send_noted)
            except Exception as error:  # noqa: BLE001 - servers would print its text
                log_failure(error)
                if not has_begun:
                    await send_error(ApiError.failed(), scope, receive, send_noted)
            finally:
                record.read_scope(scope)
                self._metrics.count_request(record)
                log_request(record)
