"""Answers as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import NamedTuple, TypeVar

from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from amulet_integrations.errors import AmuletError
from amulet_integrations.serving.api_errors import ApiError
from amulet_integrations.serving.operations.access_log import log_failure
from amulet_integrations.serving.operations.error_answers import error_event

T = TypeVar("T")

DONE = b"data: [DONE]\n\n"


class EventStream(StreamingResponse):
    """A stream of events that is closed, with all that works for it, however it ends.

    Args:
        events: The events.
    """

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        # Proxies that buffer would hold the tokens back.
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the events until they end, or the client goes away."""
        async with aclosing(self._events):
            await super().__call__(scope, receive, send)


async def begun(events: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The same events after the first of them is there, so that its error is raised here.

    Raises:
        AmuletError: What keeps the answer from beginning.
    """
    try:
        first = await anext(events)
    except BaseException:
        await events.aclose()
        raise
    return _chained(first, events)


async def _chained(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(rest):
        try:
            yield first
            async for event in rest:
                yield event
        except AmuletError as error:  # the status has been sent
            yield error_event(ApiError.of(error))
        except Exception as error:  # noqa: BLE001 - the stream ends in order
            log_failure(error)
            yield error_event(ApiError.failed())


async def events_of(
    parts: AsyncGenerator[tuple[int, T], None],
    write: Callable[[int, T], Iterable[BaseModel]],
    write_end: Callable[[], Iterable[BaseModel]],
) -> AsyncGenerator[bytes, None]:
    """The events of a stream: each increment's chunks in one piece.

    Args:
        parts: The parts of all answers; see `interleaved`.
        write: Makes the chunks of one part of one answer.
        write_end: Makes the chunks that follow all parts.
    """
    async with aclosing(parts):
        async for index, part in parts:
            if events := b"".join(map(_event, write(index, part))):
                yield events
    yield b"".join(map(_event, write_end())) + DONE


def _event(chunk: BaseModel) -> bytes:
    return b"data: " + chunk.model_dump_json(exclude_unset=True).encode() + b"\n\n"


class _End(NamedTuple):
    """The end of one of several streams."""

    error: Exception | None


async def interleaved(
    streams: Sequence[AsyncGenerator[T, None]],
) -> AsyncGenerator[tuple[int, T], None]:
    """The items of several streams as they come, each with the index of its stream.

    The first error ends all. Closing the generator closes the streams.
    """
    if len(streams) == 1:
        async with aclosing(streams[0]):
            async for item in streams[0]:
                yield 0, item
        return
    queue: asyncio.Queue[tuple[int, T] | _End] = asyncio.Queue()
    tasks = [asyncio.create_task(_feed(queue, index, it)) for index, it in enumerate(streams)]
    running = len(tasks)
    try:
        while running:
            found = await queue.get()
            if not isinstance(found, _End):
                yield found
            elif found.error is not None:
                raise found.error
            else:
                running -= 1
    finally:
        for task in tasks:
            task.cancel()


async def _feed(
    queue: asyncio.Queue[tuple[int, T] | _End], index: int, stream: AsyncGenerator[T, None]
) -> None:
    error = None
    try:
        async with aclosing(stream):
            async for item in stream:
                queue.put_nowait((index, item))
    except Exception as raised:  # noqa: BLE001 - for the reader
        error = raised
    queue.put_nowait(_End(error))
