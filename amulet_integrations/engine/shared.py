"""One loaded engine for everybody who asks for the same model."""

from __future__ import annotations

import threading
from collections import defaultdict
from weakref import WeakValueDictionary

from amulet_integrations.engine.backends.transformers.model_source import ModelSource
from amulet_integrations.engine.local_engine import LocalEngine

_engines: WeakValueDictionary[str, LocalEngine] = WeakValueDictionary()
_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


def shared_engine(source: ModelSource) -> LocalEngine:
    """The engine of a model, loaded by whoever asks first and freed when nobody holds it.

    Raises:
        ModelError: The model cannot be loaded.
    """
    with _locks[source.key]:
        engine = _engines.get(source.key)
        if engine is None or engine.closed:
            engine = LocalEngine.from_source(source)
            _engines[source.key] = engine
        return engine
