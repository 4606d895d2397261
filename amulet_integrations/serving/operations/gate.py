"""What a request has to pass before its body is read: readiness, a key, and room for one more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from amulet_integrations.concurrency.thread_groups import group_restored
from amulet_integrations.errors import AmuletError
from amulet_integrations.serving.access.request_access import Access
from amulet_integrations.serving.api_errors import ApiError

from .error_answers import send_error
from .request_record import current_record, path_below_root

_GUARDED = "/v1/"
"""All that needs the model or a key is below it."""


class GateMiddleware:
    """Refuses what could not be answered, before anything of its body is taken.

    503 while the model is loaded, 401 without a valid key, and 429 for a key that has too many
    requests in work. Without keys, all requests count as those of one key.

    Args:
        app: The application inside.
        access: Says whose key it is.
        most: Most requests that a key may have in work.
        setting: What an operator calls that bound.
        check_ready: Raises an `ApiError` while nothing can be answered.
    """

    def __init__(
        self,
        app: ASGIApp,
        access: Access,
        *,
        most: int,
        setting: str,
        check_ready: Callable[[], None] | None = None,
    ) -> None:
        self._app = app
        self._access = access
        self._most = most
        self._setting = setting
        self._check_ready = check_ready
        self._in_work: Counter[str | None] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or not needs_key(scope):
            await self._app(scope, receive, send)
            return
        with group_restored():
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            key_id = await self._enter(Request(scope))
        except AmuletError as error:
            await send_error(ApiError.of(error), scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self._leave(key_id)

    async def _enter(self, request: Request) -> str | None:
        if self._check_ready is not None:
            self._check_ready()
        key_id = (await self._access.caller_of(request)).key_id
        if (record := current_record()) is not None:
            record.key_id = key_id
        if self._in_work[key_id] >= self._most:
            whose = "This key has" if self._access.keys is not None else "This server has"
            raise ApiError.too_many(
                f"{whose} {self._most} requests in work, which is the most at a time "
                f"({self._setting}). Try again when one of them is done."
            )
        self._in_work[key_id] += 1
        return key_id

    def _leave(self, key_id: str | None) -> None:
        self._in_work[key_id] -= 1
        if not self._in_work[key_id]:
            del self._in_work[key_id]


def needs_key(scope: Scope) -> bool:
    """Whether a request needs the model or a key; what browsers ask beforehand has no key."""
    return path_below_root(scope).startswith(_GUARDED) and scope["method"] != "OPTIONS"
