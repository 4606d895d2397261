"""Handlers that record what LlamaIndex's instrumentation and callbacks hand them."""

from __future__ import annotations

from typing import Any

from llama_index.core.callbacks.base_handler import BaseCallbackHandler
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.span_handlers import BaseSpanHandler
from pydantic import Field

SECRET = "I am recovering from an illness."


class Events(BaseEventHandler):
    seen: list[Any]

    def handle(self, event, **kwargs):
        self.seen.append(event)


class Spans(BaseSpanHandler):
    recorded: list[str] = Field(default_factory=list)
    arguments: list[dict] = Field(default_factory=list)

    def new_span(self, id_, bound_args, instance=None, **kwargs):
        self.recorded += [id_, repr(bound_args), repr(bound_args.arguments), repr(instance)]
        self.arguments.append(dict(bound_args.arguments))

    def prepare_to_exit_span(self, id_, bound_args, instance=None, result=None, **kwargs):
        self.recorded.append(repr(result))

    def prepare_to_drop_span(self, id_, bound_args, instance=None, err=None, **kwargs):
        self.recorded.append(repr(err))


class Callbacks(BaseCallbackHandler):
    def __init__(self):
        super().__init__([], [])
        self.seen = []

    def on_event_start(self, event_type, payload=None, event_id="", parent_id="", **kwargs):
        self.seen.append(("start", event_type, payload))
        return event_id

    def on_event_end(self, event_type, payload=None, event_id="", **kwargs):
        self.seen.append(("end", event_type, payload))

    def start_trace(self, trace_id=None):
        pass

    def end_trace(self, trace_id=None, trace_map=None):
        pass
