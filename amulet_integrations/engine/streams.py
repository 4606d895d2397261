"""How callers see a running request: an iterator, or an async one, over one mailbox."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Self

from amulet_integrations.engine.result import Increment
from amulet_integrations.engine.sequence import Emit, Sequence
from amulet_integrations.errors import AmuletError

Prepare = Callable[[Emit], Sequence]
"""Makes the request's `Sequence`, whose output will go where the argument says."""


class StreamReader:
    """What both forms share: which request it is, and when it is over."""

    def __init__(self, prepare: Prepare, emit: Emit) -> None:
        self._over = True  # until there is a request
        self.sequence = prepare(emit)
        self._over = False

    def cancel(self) -> None:
        """Cancels the request if it still runs; its room is free at the next step."""
        if not self._over:
            self._over = True
            self.sequence.cancel()

    def _read(self, item: Increment | AmuletError) -> Increment:
        if isinstance(item, AmuletError):
            self._over = True
            raise item
        self._over = item.finish_reason is not None
        return item

    def __del__(self) -> None:
        # A reader that was dropped half-way wants no more.
        self.cancel()


class GenerationStream(StreamReader):
    """Iterator over the increments of one request; closing or dropping it cancels the request."""

    def __init__(self, prepare: Prepare) -> None:
        self._mailbox: SimpleQueue[Increment | AmuletError] = SimpleQueue()
        super().__init__(prepare, self._mailbox.put)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Increment:
        if self._over:
            raise StopIteration
        try:
            item = self._mailbox.get()
        except BaseException:  # Ctrl-C while waiting
            self.cancel()
            raise
        return self._read(item)

    def close(self) -> None:
        """The same as `cancel`, under the name that generators have."""
        self.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


class AsyncGenerationStream(StreamReader):
    """The same for asyncio. To be made while the loop that reads it runs."""

    def __init__(self, prepare: Prepare) -> None:
        self._mailbox: asyncio.Queue[Increment | AmuletError] = asyncio.Queue()
        super().__init__(prepare, partial(_post, asyncio.get_running_loop(), self._mailbox))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Increment:
        if self._over:
            raise StopAsyncIteration
        try:
            item = await self._mailbox.get()
        except BaseException:  # the task was cancelled
            self.cancel()
            raise
        return self._read(item)

    async def aclose(self) -> None:
        """The same as `cancel`, under the name that generators have."""
        self.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.aclose()


def _post(
    loop: asyncio.AbstractEventLoop,
    mailbox: asyncio.Queue[Increment | AmuletError],
    item: Increment | AmuletError,
) -> None:
    # A loop that has closed has no reader any more; the request ends when its reader is dropped.
    if not loop.is_closed():
        loop.call_soon_threadsafe(mailbox.put_nowait, item)
