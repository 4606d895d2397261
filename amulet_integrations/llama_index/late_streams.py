"""Streams of query engines and chat engines speak for the user who asked.

In the modes "compact" and "refine" LlamaIndex calls the model only when the stream is read. By then
the `preference_scope` of the query may have ended, another user's may have begun, or another thread
may be reading. So each such stream is tied to the context variables of the query.
"""

from __future__ import annotations

from typing import Any

from llama_index.core.base.response.schema import AsyncStreamingResponse, StreamingResponse
from llama_index.core.llms.structured_llm import StructuredLLM
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.span_handlers import NullSpanHandler

from amulet_integrations.bind_context import bind_async_iterator, bind_iterator
from amulet_integrations.client import AmuletClient

_SYNTHESIZERS = "llama_index.core.response_synthesizers.base"


class LateStreams(NullSpanHandler):
    """Is told of each response as it leaves the synthesizer, while the query still runs."""

    @classmethod
    def class_name(cls) -> str:
        """The name in LlamaIndex's lists of handlers."""
        return "AmuletLateStreams"

    def span_exit(
        self,
        id_: str,  # noqa: ARG002 - LlamaIndex's signature
        bound_args: Any,  # noqa: ARG002
        instance: Any = None,
        result: Any = None,
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Ties a response's stream to this moment, where one of our models writes it."""
        if not _asks_us(getattr(instance, "_llm", None)):
            return
        if isinstance(result, StreamingResponse) and result.response_gen is not None:
            result.response_gen = bind_iterator(result.response_gen)
        elif isinstance(result, AsyncStreamingResponse):
            result.response_gen = bind_async_iterator(result.response_gen)


def watch_late_streams() -> None:
    """Installs the handler, once in a process."""
    dispatcher = get_dispatcher(_SYNTHESIZERS)
    if not any(isinstance(handler, LateStreams) for handler in dispatcher.span_handlers):
        dispatcher.add_span_handler(LateStreams())


def _asks_us(llm: Any) -> bool:
    return isinstance(llm.llm if isinstance(llm, StructuredLLM) else llm, AmuletClient)
