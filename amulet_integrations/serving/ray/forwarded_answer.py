"""Runs an ASGI application for a request that was read elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from starlette.types import ASGIApp, Message, Receive

from .forwarded_request import ForwardedRequest

_running: set[asyncio.Task[None]] = set()
"""asyncio itself keeps no task alive."""


async def answer_forwarded(
    app: ASGIApp, request: ForwardedRequest
) -> AsyncGenerator[list[Message], None]:
    """The messages of an answer; those that are there at the same time come together.

    When it is closed, the application learns that the client has gone.

    Args:
        app: The application.
        request: The request.
    """
    messages: asyncio.Queue[Message | None] = asyncio.Queue()
    gone = asyncio.Event()
    parts: list[Message] = [{"type": "http.request", "body": request.body, "more_body": False}]

    async def receive() -> Message:
        if parts:
            return parts.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    task = asyncio.create_task(_run(app, request, receive, messages))
    _running.add(task)
    task.add_done_callback(_running.discard)
    try:
        is_over = False
        while not is_over:
            batch = [await messages.get()]
            while not messages.empty():
                batch.append(messages.get_nowait())
            is_over = batch[-1] is None
            if sent := [it for it in batch if it is not None]:
                yield sent
    finally:
        gone.set()


async def _run(
    app: ASGIApp,
    request: ForwardedRequest,
    receive: Receive,
    messages: asyncio.Queue[Message | None],
) -> None:
    try:
        await app(dict(request.scope), receive, messages.put)
    finally:
        messages.put_nowait(None)
