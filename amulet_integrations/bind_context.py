"""Work that runs later, with the context variables of the moment at which it was bound.

A coroutine or a generator starts when it is awaited or read. By then the `preference_scope` of the
caller may have ended, or another user's may have begun.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Generator, Iterator
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

    try:
        while (item := await _in_context(context, step())) is not _END:
            yield item
    finally:
        if isinstance(steps, AsyncGenerator):
            await _in_context(context, steps.aclose())
