"""LlamaIndex's spans around our methods, which show no arguments on whose preferences to follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.dispatcher import DISPATCHER_SPAN_DECORATED_ATTR

from amulet_integrations.client import SELECTION_ARGUMENTS

M = TypeVar("M", bound=Callable[..., Any])

_dispatcher = get_dispatcher(__name__)


def opens_own_span(method: M) -> M:
    """Keeps LlamaIndex from opening a span around a public method.

    That span would record all arguments, the user's preferences among them.
    """
    setattr(method, DISPATCHER_SPAN_DECORATED_ATTR, True)
    return method


def in_span(
    owner: Any, name: str, work: Callable[..., Any], shown: tuple[Any, ...], more: Mapping[str, Any]
) -> Any:
    """Calls `work` as a method of `owner`, in a span that records `shown` and `more`."""
    work.__name__ = name
    method = _dispatcher.span(work).__get__(owner, type(owner))
    return method(*shown, **more)


def without_preferences(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a call without those on whose preferences to follow."""
    return {name: value for name, value in arguments.items() if name not in SELECTION_ARGUMENTS}
