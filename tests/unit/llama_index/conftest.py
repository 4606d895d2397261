"""Fixtures that watch LlamaIndex's instrumentation."""

from __future__ import annotations

import pytest
from llama_index.core.instrumentation import get_dispatcher

from tests.unit.llama_index.recorders import Callbacks, Events, Spans


@pytest.fixture
def watched():
    """Recorders of events, spans and callbacks; the last has to be given to a model."""
    root = get_dispatcher()
    before = list(root.event_handlers), list(root.span_handlers)
    events, spans, callbacks = Events(seen=[]), Spans(), Callbacks()
    root.add_event_handler(events)
    root.add_span_handler(spans)
    yield events, spans, callbacks
    root.event_handlers, root.span_handlers = before


@pytest.fixture
def events(watched):
    """The events from now on."""
    return watched[0].seen
