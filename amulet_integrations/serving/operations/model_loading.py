"""Loads the model beside a server that answers already, and frees it at the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from amulet_integrations.serving.served_engine import load_engine
from amulet_integrations.serving.server_state import ServerState
from amulet_integrations.serving.server_threads import SERVER_THREADS

logger = logging.getLogger(__name__)

_SECONDS_TO_CLOSE = 5.0  # in which a step of the engine that still runs has to end


@asynccontextmanager
async def serving_model(state: ServerState) -> AsyncIterator[None]:
    """The time from start to stop of an application.

    An engine that is there already is warmed up first. A model that has to be loaded is loaded
    meanwhile; until then `Readiness` refuses requests. If it cannot be loaded, the server ends.
    """
    readiness, client = state.readiness, state.client
    loading: asyncio.Task[None] | None = None
    readiness.begin()
    if client.engine is not None:
        await client.awarm_up()
        readiness.become_ready()
    else:
        loading = asyncio.create_task(_load(state))
    try:
        yield
    finally:
        readiness.end()
        if loading is not None:
            await _end(state, loading)


async def _load(state: ServerState) -> None:
    readiness = state.readiness
    try:
        await SERVER_THREADS.start(lambda: _load_engine(state), may_be_left=True)
    except Exception as error:  # noqa: BLE001 - whoever runs the server raises it
        # Its message: no user has asked for anything yet.
        logger.error("The model could not be loaded: %s: %s", type(error).__name__, error)  # noqa: TRY400
        readiness.fail(error)
    else:
        readiness.become_ready()


def _load_engine(state: ServerState) -> None:
    """Loads the engine with this server's bounds; all clients share it.

    The database comes first: a mistake in its address is found without waiting for the model.
    """
    if (store := state.client.open_profiles()) is not None:
        store.get("warm-up")
    state.client.engine = load_engine(state.settings)
    state.client.warm_up()


async def _end(state: ServerState, loading: asyncio.Task[None]) -> None:
    """Frees the engine; one that is still being loaded is left to whoever ends the process.

    So is one whose last step hangs.
    """
    if not loading.done():
        state.readiness.is_engine_left = True
        loading.cancel()
        return
    engine, state.client.engine = state.client.engine, None
    if engine is None:
        return
    closing = SERVER_THREADS.start(engine.close, may_be_left=True)
    await asyncio.wait([closing], timeout=_SECONDS_TO_CLOSE)
    if closing.done():
        closing.result()
    else:
        logger.warning("The engine has not ended within %g s; it is left.", _SECONDS_TO_CLOSE)
        state.readiness.is_engine_left = True
