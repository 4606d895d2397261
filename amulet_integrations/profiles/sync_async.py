"""One code for callers on threads and on event loops."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial, update_wrapper
from inspect import iscoroutinefunction, signature
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from amulet_integrations.concurrency.fair_threads import STORE_THREADS

P = ParamSpec("P")
T = TypeVar("T")
Owner = TypeVar("Owner")
Request = TypeVar("Request")
Reply = TypeVar("Reply")

_ABOUT_USER = {"user_id", "profile"}


def run_steps(
    steps: Generator[Request, Reply | None, T], answer: Callable[[Request], Reply | None]
) -> T:
    """Runs a generator that yields requests and is sent their replies.

    Args:
        steps: The generator. It is the same for threads and for event loops.
        answer: Replies to a request.

    Returns:
        What the generator returns.
    """
    reply = None
    while True:
        try:
            request = steps.send(reply)
        except StopIteration as end:
            return cast("T", end.value)
        reply = answer(request)


async def arun_steps(
    steps: Generator[Request, Reply | None, T], answer: Callable[[Request], Awaitable[Reply | None]]
) -> T:
    """The async form of `run_steps`."""
    reply = None
    while True:
        try:
            request = steps.send(reply)
        except StopIteration as end:
            return cast("T", end.value)
        reply = await answer(request)


def on_thread(
    method: Callable[Concatenate[Owner, P], T], *, reads: bool = False
) -> Callable[Concatenate[Owner, P], Coroutine[Any, Any, T]]:
    """Makes the async form of a method: it runs the method on a thread.

    The thread runs to its end even if the task is cancelled, so no work is left half done. The
    work is for the user of the method's first argument, where it is `user_id` or `profile`.

    Args:
        method: The method. Where a subclass overrides it, the override runs.
        reads: Whether it only reads, so that the interpreter may exit before it has ended.
    """
    about = next((it for it in list(signature(method).parameters)[1:2] if it in _ABOUT_USER), None)

    async def run(self: Owner, /, *args: P.args, **kwargs: P.kwargs) -> T:
        work = partial(getattr(self, method.__name__), *args, **kwargs)
        first = (args[0] if args else kwargs.get(about)) if about else None
        user_id = getattr(first, "user_id", first)
        user_id = user_id if isinstance(user_id, str) else None
        return await STORE_THREADS.start(work, user_id, may_be_left=reads)

    update_wrapper(run, method)
    run.__doc__ = f"The async form of `{method.__name__}`, which it runs on a thread."
    run.__name__ = f"a{method.__name__}"
    run.runs_on_thread = True  # type: ignore[attr-defined]
    return run


def async_form(owner: object, name: str) -> Callable[..., Awaitable[Any]] | None:
    """Returns the async form of an object's method, such as `aget` for "get".

    Returns:
        The method; None where there is none, or where it is one of `on_thread`.
    """
    method = getattr(owner, f"a{name}", None)
    is_native = iscoroutinefunction(method) and not hasattr(method, "runs_on_thread")
    return cast("Callable[..., Awaitable[Any]]", method) if is_native else None
