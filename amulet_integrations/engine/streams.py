"""How callers see a running request: an iterator, or an async one, over one mailbox."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from queue import SimpleQueue
from typing import Self

from amulet_integrations.engine.failures import as_generation_error
from amulet_integrations.engine.result import Increment
from amulet_integrations.engine.sequence import Emit, Sequence
from amulet_integrations.engine.worker import is_worker_thread
from amulet_integrations.errors import AmuletError, GenerationError, InvalidRequestError

Prepare = Callable[[Emit], Sequence]
"""Makes the request's `Sequence`, whose output will go where the argument says."""


class StreamReader:
    """What both forms share: which request it is, and when it is over."""

    sequence: Sequence | None = None
    _over = False

    def __init__(self) -> None:
        self._process = os.getpid()

    def cancel(self) -> None:
        """Cancels the request if it still runs; its room is free at the next step."""
        if not self._over:
            self._over = True
            if self.sequence:
                self.sequence.cancel()

    def _attach(self, sequence: Sequence) -> None:
        self.sequence = sequence
        if self._over:  # cancelled while it was being prepared
            sequence.cancel()

    def _check_process(self) -> None:
        """Raises in a forked child, where nobody decodes for the parent's readers."""
        if os.getpid() != self._process:
            self._over = True  # the parent's request goes on
            raise GenerationError(
                "This stream was opened before the process forked, and only the parent can read "
                "it. Submit the request again in the child."
            )

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
        super().__init__()
        self._mailbox: SimpleQueue[Increment | AmuletError] = SimpleQueue()
        self._attach(prepare(self._mailbox.put))

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Increment:
        if self._over:
            raise StopIteration
        self._check_process()
        if is_worker_thread() and self._mailbox.empty():
            self.cancel()
            raise GenerationError(
                "The worker thread cannot wait for an answer that it would have to decode itself. "
                "Call the engine from another thread, not inside run_on_worker or a policy."
            )
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
    """The same for asyncio. To be made while the loop that reads it runs.

    Args:
        prepare: Makes the request's `Sequence`.
        on_thread: Whether to call it on a thread, because it may take a while. Where it refuses
            the request, reading the stream raises its error.
    """

    def __init__(self, prepare: Prepare, *, on_thread: bool = False) -> None:
        super().__init__()
        emit = self._open_mailbox()
        if on_thread:
            loop = asyncio.get_running_loop()
            loop.run_in_executor(None, self._attach_or_fail, prepare, emit)
        else:
            self._attach(prepare(emit))

    def _attach_or_fail(self, prepare: Prepare, emit: Emit) -> None:
        try:
            self._attach(prepare(emit))
        except AmuletError as error:
            emit(error)
        except BaseException as error:  # noqa: BLE001 - the reader must never be left waiting
            emit(as_generation_error("Preparing the request", error))

    def _open_mailbox(self) -> Emit:
        self._mailbox: asyncio.Queue[Increment | AmuletError] = asyncio.Queue()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise InvalidRequestError(
                "astream and agenerate are for code that runs in an event loop; use stream or "
                "generate."
            ) from None
        # The mailbox, not the stream: a stream that nobody holds must be able to go.
        post = self._mailbox.put_nowait
        return lambda item: loop.call_soon_threadsafe(post, item)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Increment:
        if self._over:
            raise StopAsyncIteration
        self._check_process()
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
