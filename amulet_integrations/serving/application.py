"""The application: what is mounted where, and what happens from start to stop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from amulet_integrations import __version__
from amulet_integrations.client import AmuletClient
from amulet_integrations.engine.protocol import Engine
from amulet_integrations.files import with_home

from .access import caller_routes
from .access.authentication import KEY_SCHEME
from .access.key_file import KeyFile
from .access.known_keys import KnownKeys
from .app_middleware import add_middleware
from .framework_errors import add_error_handlers
from .openai_api import chat_routes, completion_routes, served_model
from .operations import health
from .operations.model_loading import serving_model
from .page import page_routes
from .preference_check import PreferenceCheck
from .profile_api import explain_routes, history_routes, profile_routes
from .server_state import ServerState
from .settings import ServerSettings

_ROUTERS = (
    chat_routes.router,
    completion_routes.router,
    served_model.router,
    profile_routes.router,
    history_routes.router,
    explain_routes.router,
    caller_routes.router,
    health.router,
    page_routes.router,
)

# The settings that say which model to load, and how.
_SOURCE = (
    *("model", "dtype", "device", "backend", "gguf_file", "tokenizer_name", "chat_template"),
    "llama_cpp_options",
)

# FastAPI's own would trace paths, in which users are named, and log the messages of exceptions.
_NO_TELEMETRY: dict[str, Any] = {
    "telemetry": {"tracing": False, "metrics": False, "logs": False, "operation_spans": False}
}


def create_app(settings: ServerSettings | None = None, *, engine: Engine | None = None) -> FastAPI:
    """Makes the ASGI application that `amulet serve` runs.

    Args:
        settings: The settings; those of `ServerSettings()` if it is None.
        engine: An engine to use in place of one that is loaded for `settings.model`. It stays the
            caller's: the application does not close it.

    Returns:
        The application. The model is loaded when it starts, beside the first requests.

    Raises:
        AmuletError: A setting is not valid, or there is no such model.
    """
    settings = settings or ServerSettings()
    state = ServerState(
        settings=settings,
        client=_client(settings, engine),
        keys=None if settings.keys is None else KnownKeys(KeyFile(with_home(settings.keys))),
        preference_check=(
            None
            if settings.preference_check is None
            else PreferenceCheck.load(settings.preference_check)
        ),
    )
    app = FastAPI(
        title="amulet",
        version=__version__,
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        **_NO_TELEMETRY,
    )
    app.state.server = state
    add_middleware(app, state)
    for router in _ROUTERS:
        needs_key = settings.keys is not None and router.prefix.startswith("/v1")
        app.include_router(router, dependencies=[KEY_SCHEME] if needs_key else [])
    add_error_handlers(app)
    return app


def _client(settings: ServerSettings, engine: Engine | None) -> AmuletClient:
    source: dict[str, Any] = {"engine": engine}
    if engine is None:
        source = {name: getattr(settings, name) for name in _SOURCE}
    return AmuletClient(
        **source,
        profiles=settings.profiles,
        unknown_user="plain",
        max_guidance_scale=settings.max_guidance_scale,
        max_tokens=settings.default_max_tokens,
        timeout=settings.timeout,
    )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with serving_model(app.state.server):
        yield
