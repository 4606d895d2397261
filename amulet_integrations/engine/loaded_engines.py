"""One engine of each model in this process, for all who ask for it."""

from __future__ import annotations

from collections import defaultdict
from weakref import WeakValueDictionary

from amulet_integrations.concurrency.fork_safe import ForkSafeLock

from .local_engine import LocalEngine
from .model_source import ModelSource

_engines: WeakValueDictionary[str, LocalEngine] = WeakValueDictionary()
_locks: defaultdict[str, ForkSafeLock] = defaultdict(ForkSafeLock)


def shared_engine(source: ModelSource) -> LocalEngine:
    """Returns the one engine of a model: loaded by the first caller, freed when nobody holds it.

    Raises:
        ModelError: The model cannot be loaded.
    """
    with _locks[source.key]:
        engine = _engines.get(source.key)
        if engine is None or engine.closed:
            engine = LocalEngine.from_source(source)
            _engines[source.key] = engine
        return engine
