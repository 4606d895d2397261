"""The keys before vLLM's own routes."""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from amulet_integrations.serving.access.request_access import Access
from amulet_integrations.serving.api_errors import ApiError
from amulet_integrations.serving.operations.error_answers import send_error


class KeyGuard:
    """Asks for a key where vLLM asks for that of its `--api-key`.

    Args:
        app: What comes behind.
        access: Whose keys they are.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        from vllm.entrypoints.serve.middleware.authenticate import (  # noqa: PLC0415
            GUARDED_PREFIX,
        )

        self._app = app
        self._access = access
        self._guarded: str | tuple[str, ...] = GUARDED_PREFIX

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 401, or passes a request on."""
        if self._is_guarded(scope):
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            try:
                await self._access.caller_of(Request(scope))
            except ApiError as error:
                await send_error(error, scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_guarded(self, scope: Scope) -> bool:
        if scope["type"] not in ("http", "websocket") or scope.get("method") == "OPTIONS":
            return False
        path = str(scope["path"]).removeprefix(scope.get("root_path", ""))
        return path.startswith(self._guarded)
