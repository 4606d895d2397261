"""Requests whose path no client has tidied up."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote


class RawAnswer(NamedTuple):
    """An answer as an ASGI application has sent it."""

    status: int
    body: bytes


async def send_untidied(
    app: Any,
    method: str,
    raw_path: str,
    *,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> RawAnswer:
    """Sends a request to an ASGI application; a `?` in the path begins the query."""
    path, _, query = raw_path.partition("?")
    named = {"host": "127.0.0.1", "content-type": "application/json", **(headers or {})}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in named.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
    }
    sent: list[Any] = []
    received = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Any:
        if (message := next(received, None)) is None:
            await asyncio.Event().wait()  # the client stays
        return message

    async def keep(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, keep)
    return RawAnswer(sent[0]["status"], b"".join(it.get("body", b"") for it in sent[1:]))
