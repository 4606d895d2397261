"""How callers see running requests: as iterators, or async ones; and their results."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from collections.abc import Sequence as SequenceOf
from contextlib import AbstractAsyncContextManager, AbstractContextManager, suppress
from queue import SimpleQueue
from typing import Any, TypeVar, cast

from amulet_integrations.concurrency.deadline import Deadline
from amulet_integrations.concurrency.fair_threads import REQUEST_THREADS
from amulet_integrations.errors import AmuletError, GenerationError, InvalidRequestError

from .request import GenerationRequest
from .result import GenerationResult, Increment, as_generation_error
from .sequence import Emit
from .worker import is_worker_thread

T = TypeVar("T")


class StreamReader:
    """What both kinds of streams share: which request it is, and when it is over.

    Nothing that works for the request holds its stream, so that one that was dropped is freed.

    Args:
        request: The request.

    Attributes:
        request: The same.
        deadline: Until when it may take; counted from when the stream is made.
        emit: Takes the output of the request, for the reader. May be called from any thread.

    Raises:
        InvalidRequestError: This is no request.
    """

    emit: Emit
    _over = True

    def __init__(self, request: GenerationRequest) -> None:
        given: object = request
        if not isinstance(given, GenerationRequest):
            raise InvalidRequestError(
                f"A {type(given).__name__} is no GenerationRequest. generate takes a list of "
                "requests, stream takes one."
            )
        self.request = request
        self.deadline = request.start_deadline()
        self._process = os.getpid()
        self._over = False

    def cancel(self) -> None:
        """Cancels the request if it still runs; its rows are free at the next step."""
        if not self._over:
            self._over = True
            self.deadline.cancel()

    def _check_process(self) -> None:
        """Raises in a forked child, where the parent's requests are not decoded."""
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
        # A stream that was dropped half-way is not read any more.
        self.cancel()


class GenerationStream(
    StreamReader, Iterator[Increment], AbstractContextManager["GenerationStream"]
):
    """Iterator over the increments of one request; closing or dropping it cancels the request."""

    def __init__(self, request: GenerationRequest) -> None:
        super().__init__(request)
        self._mailbox: SimpleQueue[Increment | AmuletError] = SimpleQueue()
        self.emit = self._mailbox.put

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
        """Cancels the request, as generators do under this name."""
        self.cancel()

    def __exit__(self, *_exception: object) -> None:
        self.close()


class AsyncGenerationStream(
    StreamReader, AsyncIterator[Increment], AbstractAsyncContextManager["AsyncGenerationStream"]
):
    """Async iterator over the increments. Must be made in the event loop that reads it."""

    def __init__(self, request: GenerationRequest) -> None:
        super().__init__(request)
        self._mailbox: asyncio.Queue[Increment | AmuletError] = asyncio.Queue()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise InvalidRequestError(
                "astream and agenerate are for code that runs in an event loop; use stream or "
                "generate."
            ) from None
        post = self._mailbox.put_nowait

        def emit(item: Increment | AmuletError) -> None:
            loop.call_soon_threadsafe(post, item)

        self.emit = emit
        self._loop = loop
        self._submitting: asyncio.Task[None] | None = None

    def submit_on_thread(self, submit: Callable[[], None]) -> None:
        """Submits the request on a thread, within its deadline; reading gives its error.

        Args:
            submit: Submits the request. It must not hold this stream.
        """
        work = _submit_within(submit, self.request.user_id, self.deadline, self.emit)
        self._submitting = self._loop.create_task(work)

    def cancel(self) -> None:
        """As in `StreamReader`; a submission that waits for a thread waits no longer."""
        super().cancel()
        if self._submitting is not None and not self._submitting.done():
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._submitting.cancel)

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
        """Cancels the request, as generators do under this name."""
        self.cancel()

    async def __aexit__(self, *_exception: object) -> None:
        await self.aclose()


async def _submit_within(
    submit: Callable[[], None], user_id: str | None, deadline: Deadline, emit: Emit
) -> None:
    """Submits a request on a thread, and gives an error to the reader, who must not wait."""
    try:
        await REQUEST_THREADS.arun(submit, deadline=deadline, user_id=user_id)
    except AmuletError as error:
        emit(error)
    except Exception as error:  # noqa: BLE001 - the same
        emit(as_generation_error("Preparing the request", error))


def attempt(function: Callable[..., T], *args: Any) -> T | AmuletError:
    """Returns what a function returns, or the `AmuletError` that it raises."""
    try:
        return function(*args)
    except AmuletError as error:
        return error


async def read_to_end(stream: AsyncGenerationStream) -> GenerationResult | AmuletError:
    """Returns the result of a stream, or the `AmuletError` that ends it."""
    try:
        return GenerationResult.fold([increment async for increment in stream])
    except AmuletError as error:
        return error


def raise_first(outcomes: SequenceOf[T | AmuletError]) -> list[T]:
    """Returns the outcomes if none of them is an error.

    Raises:
        AmuletError: The first error among them.
    """
    for outcome in outcomes:
        if isinstance(outcome, AmuletError):
            raise outcome
    return cast("list[T]", outcomes)


def cancel_all(streams: SequenceOf[StreamReader | AmuletError]) -> None:
    """Cancels the streams that still run."""
    for stream in streams:
        if not isinstance(stream, AmuletError):
            stream.cancel()
