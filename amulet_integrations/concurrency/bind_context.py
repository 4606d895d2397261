"""Work that runs later, with the context variables of the moment at which it was bound.

A coroutine or a generator starts when it is awaited or read. By then the `preference_scope` of the
caller may have ended, or another user's may have begun.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Generator, Iterator
from contextlib import AbstractAsyncContextManager
from contextvars import Context, copy_context
from typing import Any, TypeVar

T = TypeVar("T")

_END: Any = object()


def bind_coroutine(work: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
    """A coroutine that runs `work` with the context variables of this call."""
    return _in_context(copy_context(), work)


def bind_iterator(steps: Iterator[T]) -> Generator[T, None, None]:
    """A generator that computes each item with the context variables of this call."""
    return _each_in_context(copy_context(), steps)


def bind_async_iterator(steps: AsyncIterator[T]) -> AsyncGenerator[T, None]:
    """An async generator that computes each item with the context variables of this call."""
    return _aeach_in_context(copy_context(), steps)


class aclosing_all(AbstractAsyncContextManager[None]):  # noqa: N801 - as contextlib.aclosing
    """Closes an async generator that another one reads; `aclosing` for the end of an event loop.

    When an event loop ends, asyncio closes all generators at once, and one that is being closed
    cannot be closed again. So the outer one lets asyncio begin, and closes what is left.
    """

    def __init__(self, steps: AsyncIterator[Any]) -> None:
        self._steps = steps

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is GeneratorExit:
            await asyncio.sleep(0)
        being_closed = getattr(self._steps, "ag_running", False)
        if isinstance(self._steps, AsyncGenerator) and not being_closed:
            await self._steps.aclose()


async def _in_context(context: Context, work: Coroutine[Any, Any, T]) -> T:
    return await asyncio.create_task(work, context=context)


def _each_in_context(context: Context, steps: Iterator[T]) -> Generator[T, None, None]:
    try:
        while (item := context.run(next, steps, _END)) is not _END:
            yield item
    finally:
        if isinstance(steps, Generator):
            context.run(steps.close)


async def _aeach_in_context(context: Context, steps: AsyncIterator[T]) -> AsyncGenerator[T, None]:
    async def step() -> T:
        return await anext(steps, _END)

    closer = aclosing_all(steps)
    ended_by: type[BaseException] | None = None
    try:
        while (item := await _in_context(context, step())) is not _END:
            yield item
    except BaseException as error:
        ended_by = type(error)
        raise
    finally:
        await _in_context(context, closer.__aexit__(ended_by))
