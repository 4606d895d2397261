"""A line in the log for each request that the ingress answers itself."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from amulet_integrations.serving.operations.access_log import log_request
from amulet_integrations.serving.operations.request_record import (
    RequestRecord,
    path_below_root,
    recording,
    request_id_of,
)

from .forwarded_request import MODEL_PATHS


class IngressLogMiddleware:
    """Logs what is refused on the way to a replica, for the replica logs the rest.

    Args:
        app: The application inside. The status of its errors is in the request's record.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = RequestRecord(request_id=request_id_of(scope))
        record.read_scope(scope)
        if (path := path_below_root(scope)) in MODEL_PATHS:
            record.route = path
        with recording(record):
            try:
                await self._app(scope, receive, send)
            finally:
                if record.status is not None:
                    log_request(record)
