"""What copies of a wrapper share: engines, prompt builders, stores, and what was reported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from amulet_integrations.concurrency.fork_safe import ForkSafeLock
from amulet_integrations.engine.backends.transformers.loading.source_check import (
    source_context_window,
)
from amulet_integrations.engine.model_source import ModelSource
from amulet_integrations.engine.protocol import Engine
from amulet_integrations.personalization.explained_answers import RecentAnswers
from amulet_integrations.personalization.gating import GateMemory
from amulet_integrations.personalization.unknown_users import UnknownUsers
from amulet_integrations.profiles import ProfileLimits, ProfileStore
from amulet_integrations.profiles.stores.opened_stores import OpenedStores
from amulet_integrations.prompting import PromptBuilder


class Registry:
    """Loads each engine and opens each store once. May be used from any thread.

    Args:
        load: Loads the engine of a source; by default all registries of the process share engines
            of the same source.

    Attributes:
        unknown_users: Which unknown users have been reported.
        explained: The answers that were explained of late.
        gate_memory: What gates have found out about preferences.
    """

    def __init__(self, load: Callable[[ModelSource], Engine] | None = None) -> None:
        self._load = load
        self._lock = ForkSafeLock()
        self._loading = ForkSafeLock()
        self._engines: dict[str, Engine] = {}
        self._stores = OpenedStores()
        self._prompts: dict[tuple[int, str], tuple[Engine, PromptBuilder]] = {}
        self._windows: dict[str, int] = {}
        self.unknown_users: UnknownUsers = UnknownUsers()
        self.explained: RecentAnswers = RecentAnswers()
        self.gate_memory: GateMemory = GateMemory()

    def __reduce__(self) -> tuple[type[Registry], tuple[()]]:
        # Another process loads and opens its own.
        return Registry, ()

    def context_window(self, source: ModelSource) -> int:
        """The context window of a source's model, whether or not the model is loaded.

        Raises:
            AmuletError: The source cannot be run. It is checked once, as its config is read.
        """
        if (key := source.key) not in self._windows:
            self._windows[key] = source_context_window(source)
        return self._windows[key]

    def prompts(self, engine: Engine, separator: str) -> PromptBuilder:
        """The prompt builder of an engine; it tries the chat template out once."""
        with self._lock:
            # The engine is kept, too, so that no other engine gets its id.
            entry = self._prompts.get((id(engine), separator))
            if entry is None:
                entry = (
                    engine,
                    PromptBuilder(
                        engine.tokenizer, separator=separator, context_window=engine.context_window
                    ),
                )
                self._prompts[id(engine), separator] = entry
            return entry[1]

    def engine(self, source: ModelSource) -> Engine:
        """The engine of a source; loads the model on first use."""
        if self._load is not None:
            with self._loading:
                if source.key not in self._engines:
                    self._engines[source.key] = self._load(source)
                return self._engines[source.key]
        from amulet_integrations.engine.worker import run_on_worker  # noqa: PLC0415

        # Without the lock, because loading takes long, and calls of other models must not wait.
        engine = run_on_worker(_import_shared_engine)(source)
        with self._lock:
            # Kept here, because `shared_engine` frees engines that nobody references.
            self._engines[source.key] = engine
        return engine

    def store(
        self,
        store_or_url: ProfileStore | str | Path | None,
        ttl: float,
        limits: ProfileLimits | None = None,
        *,
        make: bool = False,
    ) -> ProfileStore | None:
        """As `OpenedStores.store`."""
        return self._stores.store(store_or_url, ttl, limits, make=make)


def _import_shared_engine() -> Callable[[ModelSource], Engine]:
    """Imports torch and transformers, which takes seconds, when something is first decoded.

    On the worker, for whose end the interpreter waits when it exits: torch reports errors where it
    has been imported by half.
    """
    from amulet_integrations.engine.backends.transformers.loading import loader  # noqa: F401, PLC0415
    from amulet_integrations.engine.loaded_engines import shared_engine  # noqa: PLC0415

    return shared_engine
