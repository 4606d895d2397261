"""LlamaIndex's spans: what ours record of a call, and streams that outlive the query's scope.

In the modes "compact" and "refine" a response synthesizer calls the model only when its stream is
read. By then the `preference_scope` of the query may have ended, another user's may have begun, or
another thread may be reading. So each stream of a synthesizer is bound to the context variables of
its query, by a span handler.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import isfunction
from typing import Any, TypeVar

from llama_index.core.base.response.schema import AsyncStreamingResponse, StreamingResponse
from llama_index.core.llms.structured_llm import StructuredLLM
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.dispatcher import DISPATCHER_SPAN_DECORATED_ATTR
from llama_index_instrumentation.span_handlers import NullSpanHandler

from amulet_integrations.client import AmuletClient
from amulet_integrations.concurrency.bind_context import bind_async_iterator, bind_iterator

T = TypeVar("T")

_SYNTHESIZERS = "llama_index.core.response_synthesizers.base"

_dispatcher = get_dispatcher(__name__)


class PrivateSpans:
    """Keeps LlamaIndex from opening spans around the methods of a class and its subclasses.

    Such spans would record all arguments, the user's preferences among them. The methods open their
    own, by `call_in_span`.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        for member in vars(cls).values():
            if isfunction(member):
                setattr(member, DISPATCHER_SPAN_DECORATED_ATTR, True)
        super().__init_subclass__(**kwargs)


def call_in_span(
    owner: object,
    name: str,
    function: Callable[..., T],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> T:
    """Calls a function as the method `name` of `owner`, in a span that records its arguments."""
    function.__name__ = name
    method: Callable[..., T] = _dispatcher.span(function).__get__(owner, type(owner))
    return method(*args, **kwargs)


class StreamBinder(NullSpanHandler):
    """Receives each response as it leaves the synthesizer, while the query still runs."""

    @classmethod
    def class_name(cls) -> str:
        """The name in LlamaIndex's lists of handlers."""
        return "AmuletStreamBinder"

    def span_exit(
        self,
        id_: str,  # noqa: ARG002 - LlamaIndex's signature
        bound_args: Any,  # noqa: ARG002
        instance: Any = None,
        result: Any = None,
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Binds a response's stream to the current context, where one of our models writes it."""
        llm = getattr(instance, "_llm", None)
        if not isinstance(llm.llm if isinstance(llm, StructuredLLM) else llm, AmuletClient):
            return
        if isinstance(result, StreamingResponse) and result.response_gen is not None:
            result.response_gen = bind_iterator(result.response_gen)
        elif isinstance(result, AsyncStreamingResponse):
            result.response_gen = bind_async_iterator(result.response_gen)


def install_stream_binder() -> None:
    """Installs the handler, once in a process."""
    dispatcher = get_dispatcher(_SYNTHESIZERS)
    if not any(isinstance(handler, StreamBinder) for handler in dispatcher.span_handlers):
        dispatcher.add_span_handler(StreamBinder())
