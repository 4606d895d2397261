"""One replica: the whole server of `amulet serve` without its port."""

from __future__ import annotations

import asyncio
import logging.config
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack

import ray
from ray import serve
from starlette.types import Message

from amulet_integrations.errors import EngineClosedError
from amulet_integrations.serving.application import create_app
from amulet_integrations.serving.operations.access_log import log_config
from amulet_integrations.serving.server_state import ServerState
from amulet_integrations.serving.settings import ServerSettings

from .cluster_settings import check_machines
from .forwarded_answer import answer_forwarded
from .forwarded_request import ForwardedRequest


class ModelReplica:
    """The model with its engine, its store of profiles and all routes.

    Ray Serve sends requests once the constructor has returned, which is when the model is loaded.

    Args:
        settings: The settings of the server.

    Raises:
        AmuletError: The model cannot be loaded, or a setting does not fit this cluster.
    """

    async def __init__(self, settings: ServerSettings) -> None:  # type: ignore[misc]  # Ray awaits it
        logging.config.dictConfig(log_config())
        check_machines(settings, len({it["NodeID"] for it in ray.nodes() if it["Alive"]}))
        self._app = create_app(settings)
        self._state: ServerState = self._app.state.amulet
        self._running = AsyncExitStack()
        await self._load()

    async def _load(self) -> None:
        settled = asyncio.Event()
        readiness = self._state.readiness
        readiness.on_ready = readiness.stop = settled.set
        await self._running.enter_async_context(self._app.router.lifespan_context(self._app))
        await settled.wait()
        if readiness.failure is not None:
            await self._running.aclose()
            raise readiness.failure

    async def answer(self, request: ForwardedRequest) -> AsyncGenerator[list[Message], None]:
        """The answer to a request, in ASGI's messages."""
        async for messages in answer_forwarded(self._app, request):
            yield messages

    def check_health(self) -> None:
        """Ray Serve replaces the replica when this raises.

        Raises:
            EngineClosedError: The model answers no more.
        """
        if not self.is_ready() or getattr(self._state.client.engine, "closed", False):
            raise EngineClosedError("The engine of this replica is closed.")

    def is_ready(self) -> bool:
        """Whether requests are answered."""
        return self._state.is_ready

    def metrics(self) -> tuple[str, bytes]:
        """This replica's id, and what Prometheus reads of it."""
        return serve.get_replica_context().replica_id.unique_id, self._state.metrics.page()

    async def __del__(self) -> None:
        """Frees the engine; Ray Serve waits for it when it stops a replica in order."""
        if hasattr(self, "_running"):
            await self._running.aclose()
