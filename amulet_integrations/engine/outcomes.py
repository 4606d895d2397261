"""What became of several requests: a result or an error for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from amulet_integrations.engine.result import GenerationResult
from amulet_integrations.engine.streams import AsyncGenerationStream, StreamReader
from amulet_integrations.errors import AmuletError

T = TypeVar("T")


def attempt(function: Callable[..., T], *args: Any) -> T | AmuletError:
    """What a function returns, or the error of ours that it raises."""
    try:
        return function(*args)
    except AmuletError as error:
        return error


async def read_to_end(stream: AsyncGenerationStream) -> GenerationResult | AmuletError:
    """The whole of a stream, or the error of ours that ends it."""
    try:
        return GenerationResult.fold([increment async for increment in stream])
    except AmuletError as error:
        return error


def raise_first(outcomes: Sequence[T | AmuletError]) -> list[T]:
    """The results.

    Raises:
        AmuletError: The first one, if there is one among them.
    """
    for outcome in outcomes:
        if isinstance(outcome, AmuletError):
            raise outcome
    return cast("list[T]", outcomes)


def cancel_all(streams: Sequence[StreamReader | AmuletError]) -> None:
    """Cancels what still runs."""
    for stream in streams:
        if not isinstance(stream, AmuletError):
            stream.cancel()
